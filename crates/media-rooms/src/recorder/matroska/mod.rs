//! Writer of Matroska and WebM files (RFC 9559, RFC 8794): blocks as they come, an index at the end. A file that is cut
//! short can be played up to there.

use std::io::{self, Seek, SeekFrom, Write};

/// Track of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) codec: EntryCodec,
    pub(crate) name: String,
}

/// Codec of a track, with what a decoder needs before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryCodec {
    Opus,
    Vp8 {
        width: u16,
        height: u16,
    },
    /// With its `AVCDecoderConfigurationRecord` (ISO 14496-15).
    H264 {
        width: u16,
        height: u16,
        configuration: Vec<u8>,
    },
}

/// Writer of one file.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    pub(crate) out: W,
    /// Place of the first byte in the segment.
    segment: u64,
    /// Place of the duration's 8 bytes.
    duration: u64,
    /// Place of what becomes the way to the index.
    seek_head: u64,
    has_video: bool,
    cluster: Option<Cluster>,
    /// Time and track of where a player can begin, and place of the cluster in the segment.
    cues: Vec<(u64, u64, u64)>,
    /// Time at which the last block ends, in ms.
    end: u64,
    /// Place at which the first block ends.
    playable: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// Place of the first byte in it.
    start: u64,
    /// In ms.
    time: u64,
    /// A player can begin with it.
    is_entry: bool,
}

/// Block of a track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    /// Place of its track.
    pub(crate) track: usize,
    /// In ms.
    pub(crate) time: u64,
    /// In ms.
    pub(crate) lasts: u64,
    pub(crate) keyframe: bool,
    pub(crate) data: &'a [u8],
}

impl EntryCodec {
    pub(crate) fn is_video(&self) -> bool {
        !matches!(self, Self::Opus)
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file with these tracks: WebM if it allows their codecs.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(crate) fn begin(mut out: W, tracks: &[Entry]) -> io::Result<Self> {
        let is_webm = is_webm(tracks);
        let ebml = [
            number(id::EBML_VERSION, 1),
            number(id::EBML_READ_VERSION, 1),
            number(id::EBML_MAX_ID_LENGTH, 4),
            number(id::EBML_MAX_SIZE_LENGTH, 8),
            element(id::DOC_TYPE, if is_webm { b"webm" } else { b"matroska" }),
            number(id::DOC_TYPE_VERSION, 4),
            number(id::DOC_TYPE_READ_VERSION, 2),
        ];
        out.write_all(&element(id::EBML, &ebml.concat()))?;
        out.write_all(&open(id::SEGMENT))?;
        let (segment, seek_head) = (out.stream_position()?, out.stream_position()?);
        out.write_all(&void(SEEK_HEAD))?;
        let info = [
            number(id::TIMESTAMP_SCALE, 1_000_000),
            element(id::MUXING_APP, APP),
            element(id::WRITING_APP, APP),
            element(id::DURATION, &0f64.to_be_bytes()),
        ];
        let info = element(id::INFO, &info.concat());
        out.write_all(&info)?;
        // The duration is the last of the element.
        let duration = out.stream_position()? - 8;
        let entries: Vec<_> = (1..).zip(tracks).map(|(place, track)| entry(place, track)).collect();
        out.write_all(&element(id::TRACKS, &entries.concat()))?;
        let has_video = tracks.iter().any(|track| track.codec.is_video());
        let (cluster, cues, playable) = (None, Vec::new(), None);
        Ok(Self { out, segment, duration, seek_head, has_video, cluster, cues, end: 0, playable })
    }

    /// Writes a block.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(crate) fn write(&mut self, block: Block<'_>, is_video: bool) -> io::Result<()> {
        let begins = block.keyframe && (is_video || !self.has_video);
        let fits = self.cluster.is_some_and(|cluster| {
            let oldest = match (begins, cluster.is_entry) {
                (false, _) => LONGEST_CLUSTER,
                (true, true) => SHORTEST_CLUSTER,
                (true, false) => 0,
            };
            block.time.saturating_sub(cluster.time) < oldest
                && cluster.time.saturating_sub(block.time) < LONGEST_CLUSTER
        });
        if !fits {
            self.close_cluster()?;
            let place = self.out.stream_position()? - self.segment;
            if begins {
                self.cues.push((block.time, block.track as u64 + 1, place));
            }
            self.out.write_all(&open(id::CLUSTER))?;
            let start = self.out.stream_position()?;
            self.cluster = Some(Cluster { start, time: block.time, is_entry: begins });
            self.out.write_all(&number(id::TIMESTAMP, block.time))?;
        }
        let since = self.cluster.map_or(0, |cluster| block.time as i64 - cluster.time as i64);
        let flags = if block.keyframe { 0x80 } else { 0 };
        let [high, low] = (since as i16).to_be_bytes();
        let head = [0x80 | (block.track as u8 + 1), high, low, flags];
        self.out.write_all(&[id::SIMPLE_BLOCK])?;
        self.out.write_all(&size((head.len() + block.data.len()) as u64))?;
        self.out.write_all(&head)?;
        self.out.write_all(block.data)?;
        self.end = self.end.max(block.time + block.lasts);
        if self.playable.is_none() {
            self.playable = Some(self.out.stream_position()?);
        }
        Ok(())
    }

    /// Returns from which length on something of the file can be played; none before its first block.
    pub(crate) fn playable(&self) -> Option<u64> {
        self.playable
    }

    /// Writes the sizes, the duration and the index.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.close_cluster()?;
        let cues = self.out.stream_position()? - self.segment;
        let points = self.cues.iter().map(|&(time, track, place)| {
            let positions =
                [number(id::CUE_TRACK, track), number(id::CUE_CLUSTER_POSITION, place)].concat();
            let point = [number(id::CUE_TIME, time), element(id::CUE_TRACK_POSITIONS, &positions)];
            element(id::CUE_POINT, &point.concat())
        });
        let points: Vec<_> = points.collect();
        if !points.is_empty() {
            self.out.write_all(&element(id::CUES, &points.concat()))?;
        }
        let end = self.out.stream_position()?;
        self.patch(self.segment - 8, &wide_size(end - self.segment))?;
        self.patch(self.duration, &(self.end as f64).to_be_bytes())?;
        if !points.is_empty() {
            let seek =
                [element(id::SEEK_ID, id::CUES), element(id::SEEK_POSITION, &cues.to_be_bytes())];
            let head = element(id::SEEK_HEAD, &element(id::SEEK, &seek.concat()));
            let rest = void(SEEK_HEAD - head.len());
            self.patch(self.seek_head, &[head, rest].concat())?;
        }
        self.out.flush()
    }

    fn close_cluster(&mut self) -> io::Result<()> {
        let Some(cluster) = self.cluster.take() else { return Ok(()) };
        let end = self.out.stream_position()?;
        self.patch(cluster.start - 8, &wide_size(end - cluster.start))
    }

    /// Writes over earlier bytes, and goes on where it was.
    fn patch(&mut self, place: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(place))?;
        self.out.write_all(bytes)?;
        self.out.seek(SeekFrom::Start(end)).map(|_| ())
    }
}

/// Returns whether WebM allows all these codecs.
pub(crate) fn is_webm(tracks: &[Entry]) -> bool {
    !tracks.iter().any(|track| matches!(track.codec, EntryCodec::H264 { .. }))
}

fn entry(place: u64, track: &Entry) -> Vec<u8> {
    let video = |width: u16, height: u16| {
        let size = [number(id::PIXEL_WIDTH, width.into()), number(id::PIXEL_HEIGHT, height.into())];
        element(id::VIDEO, &size.concat())
    };
    let (kind, codec, details) = match &track.codec {
        EntryCodec::Opus => {
            let audio = [
                element(id::SAMPLING_FREQUENCY, &48_000f64.to_be_bytes()),
                number(id::CHANNELS, 2),
            ];
            let details = [
                element(id::CODEC_PRIVATE, OPUS_HEAD),
                number(id::CODEC_DELAY, 0),
                // 80 ms, in ns.
                number(id::SEEK_PRE_ROLL, 80_000_000),
                element(id::AUDIO, &audio.concat()),
            ];
            (2, &b"A_OPUS"[..], details.concat())
        }
        EntryCodec::Vp8 { width, height } => (1, &b"V_VP8"[..], video(*width, *height)),
        EntryCodec::H264 { width, height, configuration } => {
            let details = [element(id::CODEC_PRIVATE, configuration), video(*width, *height)];
            (1, &b"V_MPEG4/ISO/AVC"[..], details.concat())
        }
    };
    let fields = [
        number(id::TRACK_NUMBER, place),
        number(id::TRACK_UID, place),
        number(id::TRACK_TYPE, kind),
        number(id::FLAG_LACING, 0),
        element(id::NAME, track.name.as_bytes()),
        element(id::CODEC_ID, codec),
        details,
    ];
    element(id::TRACK_ENTRY, &fields.concat())
}

/// Returns an element with its contents.
fn element(id: &[u8], contents: &[u8]) -> Vec<u8> {
    [id, &size(contents.len() as u64), contents].concat()
}

/// Returns an element of a number, in as few bytes as it needs.
fn number(id: &[u8], value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(7);
    element(id, &bytes[first..])
}

/// Returns the beginning of an element whose size is not known yet, and has 8 bytes.
fn open(id: &[u8]) -> Vec<u8> {
    [id, &[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat()
}

/// Returns an element of so many bytes in all that means nothing. From 2 to 128.
fn void(length: usize) -> Vec<u8> {
    element(&[0xec], &vec![0; length - 2])
}

/// Returns a size in as few bytes as it needs (RFC 8794 §4).
fn size(value: u64) -> Vec<u8> {
    // All bits set means that it is not known.
    let length = (1..8).find(|&length| value < (1 << (7 * length)) - 1).unwrap_or(8);
    let marked = value | 1 << (7 * length);
    marked.to_be_bytes()[8 - length..].to_vec()
}

fn wide_size(value: u64) -> [u8; 8] {
    (value | 1 << 56).to_be_bytes()
}

const APP: &[u8] = b"Callboard";
/// Header of Opus (RFC 7845 §5.1): two channels of 48 kHz, nothing skipped.
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x00\x00\x80\xbb\x00\x00\x00\x00\x00";
/// Bytes that are kept for the way to the index.
const SEEK_HEAD: usize = 64;
/// Ages, in ms, at which a cluster ends: with the next key frame, and in any case. Times in it have 16 bits.
const SHORTEST_CLUSTER: u64 = 1_000;
const LONGEST_CLUSTER: u64 = 5_000;

/// Identifiers of the elements (RFC 8794 §11.2, RFC 9559 §5.1).
mod id {
    pub(super) const EBML: &[u8] = &[0x1a, 0x45, 0xdf, 0xa3];
    pub(super) const EBML_VERSION: &[u8] = &[0x42, 0x86];
    pub(super) const EBML_READ_VERSION: &[u8] = &[0x42, 0xf7];
    pub(super) const EBML_MAX_ID_LENGTH: &[u8] = &[0x42, 0xf2];
    pub(super) const EBML_MAX_SIZE_LENGTH: &[u8] = &[0x42, 0xf3];
    pub(super) const DOC_TYPE: &[u8] = &[0x42, 0x82];
    pub(super) const DOC_TYPE_VERSION: &[u8] = &[0x42, 0x87];
    pub(super) const DOC_TYPE_READ_VERSION: &[u8] = &[0x42, 0x85];
    pub(super) const SEGMENT: &[u8] = &[0x18, 0x53, 0x80, 0x67];
    pub(super) const SEEK_HEAD: &[u8] = &[0x11, 0x4d, 0x9b, 0x74];
    pub(super) const SEEK: &[u8] = &[0x4d, 0xbb];
    pub(super) const SEEK_ID: &[u8] = &[0x53, 0xab];
    pub(super) const SEEK_POSITION: &[u8] = &[0x53, 0xac];
    pub(super) const INFO: &[u8] = &[0x15, 0x49, 0xa9, 0x66];
    pub(super) const TIMESTAMP_SCALE: &[u8] = &[0x2a, 0xd7, 0xb1];
    pub(super) const MUXING_APP: &[u8] = &[0x4d, 0x80];
    pub(super) const WRITING_APP: &[u8] = &[0x57, 0x41];
    pub(super) const DURATION: &[u8] = &[0x44, 0x89];
    pub(super) const TRACKS: &[u8] = &[0x16, 0x54, 0xae, 0x6b];
    pub(super) const TRACK_ENTRY: &[u8] = &[0xae];
    pub(super) const TRACK_NUMBER: &[u8] = &[0xd7];
    pub(super) const TRACK_UID: &[u8] = &[0x73, 0xc5];
    pub(super) const TRACK_TYPE: &[u8] = &[0x83];
    pub(super) const FLAG_LACING: &[u8] = &[0x9c];
    pub(super) const NAME: &[u8] = &[0x53, 0x6e];
    pub(super) const CODEC_ID: &[u8] = &[0x86];
    pub(super) const CODEC_PRIVATE: &[u8] = &[0x63, 0xa2];
    pub(super) const CODEC_DELAY: &[u8] = &[0x56, 0xaa];
    pub(super) const SEEK_PRE_ROLL: &[u8] = &[0x56, 0xbb];
    pub(super) const VIDEO: &[u8] = &[0xe0];
    pub(super) const PIXEL_WIDTH: &[u8] = &[0xb0];
    pub(super) const PIXEL_HEIGHT: &[u8] = &[0xba];
    pub(super) const AUDIO: &[u8] = &[0xe1];
    pub(super) const SAMPLING_FREQUENCY: &[u8] = &[0xb5];
    pub(super) const CHANNELS: &[u8] = &[0x9f];
    pub(super) const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];
    pub(super) const TIMESTAMP: &[u8] = &[0xe7];
    pub(super) const SIMPLE_BLOCK: u8 = 0xa3;
    pub(super) const CUES: &[u8] = &[0x1c, 0x53, 0xbb, 0x6b];
    pub(super) const CUE_POINT: &[u8] = &[0xbb];
    pub(super) const CUE_TIME: &[u8] = &[0xb3];
    pub(super) const CUE_TRACK_POSITIONS: &[u8] = &[0xb7];
    pub(super) const CUE_TRACK: &[u8] = &[0xf7];
    pub(super) const CUE_CLUSTER_POSITION: &[u8] = &[0xf1];
}

#[cfg(test)]
mod tests;
