package main

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	samples "github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"
)

// What is sent of a kind: encoded frames, one after the other, without end. The first of a picture is a key frame.
type media struct {
	codec    string
	interval time.Duration
	frames   [][]byte
}

func load(picture, sound string) (map[string]media, error) {
	pictures, err := ivf(picture)
	if err != nil {
		return nil, err
	}
	sounds, err := ivf(sound)
	if err != nil {
		return nil, err
	}
	return map[string]media{
		"video": {webrtc.MimeTypeVP8, 60 * time.Millisecond, pictures},
		"audio": {webrtc.MimeTypeOpus, 20 * time.Millisecond, sounds},
	}, nil
}

// Returns the frames of an IVF file: a header of 32 bytes, then each frame after its length and its time.
func ivf(path string) ([][]byte, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(rest) < 32 || string(rest[:4]) != "DKIF" {
		return nil, errors.New(path + " is no IVF file")
	}
	var frames [][]byte
	for rest = rest[32:]; len(rest) >= 12; {
		end := 12 + int(binary.LittleEndian.Uint32(rest))
		if end > len(rest) {
			return nil, errors.New(path + " is cut off")
		}
		frames = append(frames, rest[12:end])
		rest = rest[end:]
	}
	if len(frames) == 0 {
		return nil, errors.New(path + " has no frames")
	}
	return frames, nil
}

// Sends something of this kind. It begins again with its key frame whenever a receiver asks for one.
func (peer *peer) send(kind string) error {
	media := peer.media[kind]
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: media.codec}, kind, "theirs")
	if err != nil {
		return err
	}
	sender, err := peer.connection.AddTrack(track)
	if err != nil {
		return err
	}
	asked := make(chan struct{}, 1)
	go func() {
		for {
			packets, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			for _, packet := range packets {
				switch packet.(type) {
				case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
					select {
					case asked <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	ended := peer.ended
	go func() {
		ticks := time.NewTicker(media.interval)
		defer ticks.Stop()
		for next := 0; ; next++ {
			select {
			case <-ended:
				return
			case <-ticks.C:
			}
			select {
			case <-asked:
				next = 0
			default:
			}
			frame := media.frames[next%len(media.frames)]
			_ = track.WriteSample(samples.Sample{Data: frame, Duration: media.interval})
		}
	}()
	return nil
}

// Frames that came. Pion does not decode: pictures count that are whole, from a key frame on.
type frames struct {
	audio, video atomic.Uint64
}

func (frames *frames) count(kind string) uint64 {
	if kind == "video" {
		return frames.video.Load()
	}
	return frames.audio.Load()
}

func (frames *frames) watch(track *webrtc.TrackRemote) {
	video := strings.EqualFold(track.Codec().MimeType, webrtc.MimeTypeVP8)
	builder := samplebuilder.New(100, &codecs.VP8Packet{}, track.Codec().ClockRate)
	begun := false
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			frames.audio.Add(1)
		}
		if !video {
			continue
		}
		builder.Push(packet)
		for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
			// RFC 7741 §4.3: the P bit of the payload header is clear in a key frame.
			begun = begun || len(sample.Data) > 0 && sample.Data[0]&1 == 0
			if begun {
				frames.video.Add(1)
			}
		}
	}
}
