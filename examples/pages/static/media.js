// Media that we send: camera and microphone where we may use them, with a drawn picture or silence in place of a
// missing one, so that a call always has one video and one audio track.

/**
 * Returns the media, with a note of a few words for the picture, and a sentence on what is missing and what is sent
 * instead: empty if nothing is missing.
 *
 * @param {{synthetic: boolean, label: string}} wishes
 * @returns {Promise<{stream: MediaStream, kind: "camera" | "mixed" | "synthetic", note: string, sentence: string}>}
 */
export async function openLocalMedia({ synthetic, label }) {
  if (synthetic) {
    return { stream: drawnStream(label), kind: "synthetic", note: "Drawn picture", sentence: "" };
  }
  const { tracks, why } = await captured();
  const video = tracks.find((track) => track.kind === "video");
  const audio = tracks.find((track) => track.kind === "audio");
  if (video && audio) return { stream: new MediaStream([video, audio]), kind: "camera", note: "", sentence: "" };
  if (!video && !audio) {
    const sentence = `${WHY[why]}: a drawn picture and silence are sent instead.`;
    return { stream: drawnStream(label), kind: "synthetic", note: `${why}: drawn picture`, sentence };
  }
  return {
    stream: new MediaStream([video ?? drawnVideo(label), audio ?? silence()]),
    kind: "mixed",
    note: video ? "No microphone" : "No camera: drawn picture",
    sentence: video ? "There is no microphone that can be used: silence is sent instead." : "There is no camera that can be used: a drawn picture is sent instead.",
  };
}

async function captured() {
  if (!navigator.mediaDevices?.getUserMedia) return { tracks: [], why: "Cameras need https" };
  const video = { width: { ideal: 1280 }, height: { ideal: 720 } };
  const audio = { echoCancellation: true, noiseSuppression: true };
  let why = "No camera";
  for (const wish of [{ video, audio }, { video }, { audio }]) {
    try {
      return { tracks: (await navigator.mediaDevices.getUserMedia(wish)).getTracks(), why };
    } catch (error) {
      if (error.name === "NotAllowedError" || error.name === "SecurityError") {
        return { tracks: [], why: "Camera not allowed" };
      }
      if (error.name === "NotReadableError") why = "Camera in use elsewhere";
    }
  }
  return { tracks: [], why };
}

function drawnStream(label) {
  return new MediaStream([drawnVideo(label), silence()]);
}

/** Draws a ball that bounces over a slowly turning colour, with a clock that shows whether the picture moves. */
function drawnVideo(label) {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const pen = canvas.getContext("2d");
  const firstHue = Math.floor(Math.random() * 360);
  const began = performance.now();

  const draw = () => {
    const seconds = (performance.now() - began) / 1000;
    pen.fillStyle = `hsl(${(firstHue + seconds * 6) % 360} 45% 32%)`;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "rgb(255 255 255 / 0.85)";
    pen.beginPath();
    pen.arc(bounce(seconds * 160, 40, 600), bounce(seconds * 110, 40, 320), 36, 0, Math.PI * 2);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.textAlign = "center";
    pen.font = "600 40px system-ui, sans-serif";
    pen.fillText(label.slice(0, 24), 320, 175);
    pen.font = "28px system-ui, sans-serif";
    pen.fillText(new Date().toLocaleTimeString(), 320, 220);
  };
  draw();
  // Not requestAnimationFrame: that stops in a hidden tab, while the call goes on.
  setInterval(draw, 1000 / FRAMES_PER_SECOND);
  return canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks()[0];
}

function bounce(way, low, high) {
  const span = high - low;
  const at = way % (2 * span);
  return low + (at < span ? at : 2 * span - at);
}

function silence() {
  const audio = new AudioContext();
  const oscillator = audio.createOscillator();
  const gain = audio.createGain();
  const out = audio.createMediaStreamDestination();
  gain.gain.value = 0;
  oscillator.connect(gain).connect(out);
  oscillator.start();
  return out.stream.getAudioTracks()[0];
}

const FRAMES_PER_SECOND = 15;
/** Why there is neither camera nor microphone, as a sentence. */
const WHY = {
  "Cameras need https": "Browsers give camera and microphone only to pages by https or from localhost",
  "No camera": "Neither a camera nor a microphone was found",
  "Camera not allowed": "The browser does not allow this page to use camera and microphone",
  "Camera in use elsewhere": "Camera and microphone are in use by another program",
};
