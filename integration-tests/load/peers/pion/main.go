// Baseline on Pion: forwards the track of each publisher to all subscribers. Offers come over HTTP, to /publish and
// /subscribe; the tracks of a subscriber are those of the publishers, in the order in which they came. A publisher that
// comes after subscribers begins another measurement: all connections of the one before are closed.
//
// Offers to /join/ROOM are of participants of a call: each sends a picture and a sound, and has room for those of all
// others, also of those who have not come yet. Another room is another measurement.
//
// It prints its address, and ends with its input. Everything else is as Pion's examples have it: its default codecs and
// interceptors (NACK, RTCP reports, transport-wide feedback), and a UDP port for all connections.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/pion/webrtc/v4"
)

type forwarder struct {
	api *webrtc.API
	// Guards what follows.
	sync.Mutex
	tracks       []*webrtc.TrackLocalStaticRTP
	connections  []*webrtc.PeerConnection
	subscribed   bool
	room         string
	participants []participant
	joined       int
}

// Tracks of a participant of a call.
type participant struct {
	picture, sound *webrtc.TrackLocalStaticRTP
}

func main() {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		log.Fatal(err)
	}
	// As large as Callboard's buffers.
	_ = socket.SetReadBuffer(2 << 20)
	_ = socket.SetWriteBuffer(2 << 20)
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, socket))
	server := &forwarder{api: webrtc.NewAPI(webrtc.WithSettingEngine(settings))}

	http.HandleFunc("POST /publish", server.answer(server.publish))
	http.HandleFunc("POST /subscribe", server.answer(server.subscribe))
	http.HandleFunc("POST /join/{room}", server.answer(server.join))
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}

// Prepares a connection for an offer to a room, which is none of /publish and /subscribe.
type prepare func(connection *webrtc.PeerConnection, offer webrtc.SessionDescription, room string) error

// Answers an offer, once the connection is prepared and its candidates are known.
func (server *forwarder) answer(prepare prepare) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		answer, err := server.connect(request, prepare)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadRequest)
			return
		}
		response.Header().Set("Content-Type", "application/sdp")
		response.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(response, answer)
	}
}

func (server *forwarder) connect(request *http.Request, prepare prepare) (string, error) {
	offer, err := io.ReadAll(request.Body)
	if err != nil {
		return "", err
	}
	connection, err := server.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed {
			_ = connection.Close()
		}
	})
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}
	if err := prepare(connection, description, request.PathValue("room")); err != nil {
		return "", err
	}
	if err := connection.SetRemoteDescription(description); err != nil {
		return "", err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return connection.LocalDescription().SDP, nil
}

func (server *forwarder) publish(connection *webrtc.PeerConnection, _ webrtc.SessionDescription, _ string) error {
	server.Lock()
	defer server.Unlock()
	if server.subscribed {
		server.reset()
	}
	server.connections = append(server.connections, connection)
	track, err := newTrack("track", webrtc.MimeTypeVP8, len(server.tracks))
	if err != nil {
		return err
	}
	server.tracks = append(server.tracks, track)
	connection.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		forward(remote, track)
	})
	return nil
}

func (server *forwarder) subscribe(connection *webrtc.PeerConnection, _ webrtc.SessionDescription, _ string) error {
	server.Lock()
	defer server.Unlock()
	server.subscribed = true
	server.connections = append(server.connections, connection)
	for _, track := range server.tracks {
		sender, err := connection.AddTrack(track)
		if err != nil {
			return err
		}
		go readRTCP(sender)
	}
	return nil
}

func (server *forwarder) join(connection *webrtc.PeerConnection, offer webrtc.SessionDescription, room string) error {
	others, err := pictures(offer)
	if err != nil {
		return err
	}
	server.Lock()
	defer server.Unlock()
	if server.room != room {
		server.reset()
		server.room = room
	}
	server.connections = append(server.connections, connection)
	number := server.joined
	server.joined++
	for len(server.participants) <= max(others, number) {
		picture, err := newTrack("picture", webrtc.MimeTypeVP8, len(server.participants))
		if err != nil {
			return err
		}
		sound, err := newTrack("sound", webrtc.MimeTypeOpus, len(server.participants))
		if err != nil {
			return err
		}
		server.participants = append(server.participants, participant{picture, sound})
	}
	own := server.participants[number]
	for _, other := range server.participants {
		if other == own {
			continue
		}
		for _, track := range []*webrtc.TrackLocalStaticRTP{other.picture, other.sound} {
			// One that receives as well would take the section in which the participant sends.
			only := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
			transceiver, err := connection.AddTransceiverFromTrack(track, only)
			if err != nil {
				return err
			}
			go readRTCP(transceiver.Sender())
		}
	}
	connection.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if remote.Kind() == webrtc.RTPCodecTypeVideo {
			forward(remote, own.picture)
		} else {
			forward(remote, own.sound)
		}
	})
	return nil
}

// Closes all connections of the measurement before.
func (server *forwarder) reset() {
	for _, old := range server.connections {
		_ = old.Close()
	}
	server.tracks, server.connections, server.subscribed = nil, nil, false
	server.room, server.participants, server.joined = "", nil, 0
}

// Returns the number of pictures that an offer has room for.
func pictures(offer webrtc.SessionDescription) (int, error) {
	parsed, err := offer.Unmarshal()
	if err != nil {
		return 0, err
	}
	count := 0
	for _, section := range parsed.MediaDescriptions {
		if _, receives := section.Attribute("recvonly"); receives && section.MediaName.Media == "video" {
			count++
		}
	}
	return count, nil
}

func newTrack(name, mime string, number int) (*webrtc.TrackLocalStaticRTP, error) {
	codec := webrtc.RTPCodecCapability{MimeType: mime}
	return webrtc.NewTrackLocalStaticRTP(codec, fmt.Sprint(name, number), "media")
}

func forward(remote *webrtc.TrackRemote, track *webrtc.TrackLocalStaticRTP) {
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			return
		}
		if err := track.WriteRTP(packet); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}

// Interceptors handle RTCP as it is read.
func readRTCP(sender *webrtc.RTPSender) {
	buffer := make([]byte, 1500)
	for {
		if _, _, err := sender.Read(buffer); err != nil {
			return
		}
	}
}
