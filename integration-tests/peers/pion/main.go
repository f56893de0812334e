// A peer connection of Pion, led by JSON lines: it reads {id, do, ...} and writes {id, ok}, {id, error} and {event, ...}.
// `browser_peer.js` says what it can be told; commands of data channels and perfect negotiation are missing. It ends with
// its standard input.
//
//	pion-peer PICTURE SOUND   it sends what these IVF files of VP8 and Opus have
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/pion/webrtc/v4"
)

type command struct {
	ID          json.RawMessage           `json:"id"`
	Do          string                    `json:"do"`
	Kind        string                    `json:"kind"`
	Description webrtc.SessionDescription `json:"description"`
	Candidate   *webrtc.ICECandidateInit  `json:"candidate"`
}

type peer struct {
	media      map[string]media
	connection *webrtc.PeerConnection
	frames     *frames
	// Closed when the connection is replaced.
	ended chan struct{}
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("pion-peer PICTURE SOUND")
	}
	media, err := load(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	(&peer{media: media}).obey()
}

func (peer *peer) obey() {
	lines := bufio.NewScanner(os.Stdin)
	// Descriptions are long lines.
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var command command
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			log.Fatal(err)
		}
		value, err := peer.execute(&command)
		if err != nil {
			tell(map[string]any{"id": command.ID, "error": err.Error()})
		} else {
			tell(map[string]any{"id": command.ID, "ok": value})
		}
	}
}

func (peer *peer) execute(command *command) (any, error) {
	if peer.connection == nil && command.Do != "new" {
		return nil, errors.New("no connection")
	}
	switch command.Do {
	case "new":
		return nil, peer.renew()
	case "media":
		return nil, peer.send(command.Kind)
	case "offer":
		offer, err := peer.connection.CreateOffer(nil)
		if err != nil {
			return nil, err
		}
		return offer, peer.connection.SetLocalDescription(offer)
	case "remote":
		return nil, peer.connection.SetRemoteDescription(command.Description)
	case "candidate":
		if command.Candidate == nil {
			return nil, nil
		}
		return nil, peer.connection.AddICECandidate(*command.Candidate)
	case "decoded":
		return peer.frames.count(command.Kind), nil
	case "close":
		return nil, peer.connection.Close()
	}
	return nil, fmt.Errorf("no command %s", command.Do)
}

func (peer *peer) renew() error {
	if peer.connection != nil {
		close(peer.ended)
		_ = peer.connection.Close()
	}
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	peer.connection, peer.frames, peer.ended = connection, &frames{}, make(chan struct{})
	connection.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		var event any
		if candidate != nil {
			event = candidate.ToJSON()
		}
		tell(map[string]any{"event": "candidate", "candidate": event})
	})
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		tell(map[string]any{"event": "connection", "state": state.String()})
	})
	frames := peer.frames
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		tell(map[string]any{"event": "track", "kind": track.Kind().String()})
		frames.watch(track)
	})
	return nil
}

// Writes a line.
func tell(what map[string]any) {
	line, err := json.Marshal(what)
	if err != nil {
		log.Fatal(err)
	}
	writing.Lock()
	defer writing.Unlock()
	fmt.Printf("%s\n", line)
}

var writing sync.Mutex
