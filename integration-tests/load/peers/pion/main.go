// Baseline on Pion: forwards the track of each publisher to all subscribers. Offers come over HTTP, to /publish and
// /subscribe; the tracks of a subscriber are those of the publishers, in the order in which they came. A publisher that
// comes after subscribers begins another measurement: all connections of the one before are closed.
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
	tracks      []*webrtc.TrackLocalStaticRTP
	connections []*webrtc.PeerConnection
	subscribed  bool
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

// Answers an offer, once the connection is prepared and its candidates are known.
func (server *forwarder) answer(prepare func(*webrtc.PeerConnection) error) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		answer, err := server.connect(request.Body, prepare)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadRequest)
			return
		}
		response.Header().Set("Content-Type", "application/sdp")
		response.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(response, answer)
	}
}

func (server *forwarder) connect(body io.Reader, prepare func(*webrtc.PeerConnection) error) (string, error) {
	offer, err := io.ReadAll(body)
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
	if err := prepare(connection); err != nil {
		return "", err
	}
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}
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

func (server *forwarder) publish(connection *webrtc.PeerConnection) error {
	server.Lock()
	defer server.Unlock()
	if server.subscribed {
		for _, old := range server.connections {
			_ = old.Close()
		}
		server.tracks, server.connections, server.subscribed = nil, nil, false
	}
	server.connections = append(server.connections, connection)
	codec := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}
	track, err := webrtc.NewTrackLocalStaticRTP(codec, fmt.Sprint("track", len(server.tracks)), "media")
	if err != nil {
		return err
	}
	server.tracks = append(server.tracks, track)
	connection.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			if err := track.WriteRTP(packet); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return
			}
		}
	})
	return nil
}

func (server *forwarder) subscribe(connection *webrtc.PeerConnection) error {
	server.Lock()
	defer server.Unlock()
	server.subscribed = true
	server.connections = append(server.connections, connection)
	for _, track := range server.tracks {
		sender, err := connection.AddTrack(track)
		if err != nil {
			return err
		}
		// Interceptors handle RTCP as it is read.
		go func() {
			buffer := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
	return nil
}
