"use strict";
// Strips of labels and predictions below the pictures, with playhead, zoom and legend.

const ROW = 20, GAP = 5, AXIS = 20, NAMES = 128;
const tasks = [...new Set(data.tracks.map((track) => track.task))];

function shownTracks() {
  const levels = new Set(data.tracks.map((track) => track.level));
  // Without a prediction of the chosen level, show those there are.
  return data.tracks.filter((track) => !track.level || track.level === state.level || !levels.has(state.level));
}

function trackName(track) { return track.level ? "↳ " + track.level : track.task; }

function xOfFrame(frame, width) { return NAMES + ((frame - state.from) / (state.to - state.from)) * (width - NAMES); }

function frameOfX(x, width) {
  const frame = state.from + ((x - NAMES) / (width - NAMES)) * (state.to - state.from);
  return Math.max(0, Math.min(data.frames - 1, Math.floor(frame)));
}

function niceStep(span, count) {
  const rough = Math.max(span / count, 1), power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough);
}

function drawTracks() {
  const canvas = byId("tracks"), tracks = shownTracks();
  canvas.style.height = tracks.length * (ROW + GAP) + AXIS + 4 + "px";
  const { pen, width, height } = surface(canvas);
  pen.font = theme.font;
  pen.textBaseline = "middle";
  tracks.forEach((track, row) => {
    const y = row * (ROW + GAP) + 2;
    pen.textAlign = "left";
    pen.fillStyle = track.level ? theme.muted : theme.ink;
    pen.fillText(trackName(track), 0, y + ROW / 2, NAMES - 10);
    pen.fillStyle = theme.paper;
    pen.fillRect(NAMES, y, width - NAMES, ROW);
    for (let r = 0; r < track.runs.length; r += 3) {
      const start = track.runs[r], stop = track.runs[r + 1];
      if (stop <= state.from || start >= state.to) continue;
      const x0 = Math.max(NAMES, xOfFrame(start, width)), x1 = Math.min(width, xOfFrame(stop, width));
      pen.fillStyle = track.colours[track.runs[r + 2]];
      pen.fillRect(x0, y, Math.max(x1 - x0, 0.5), ROW);
    }
  });
  drawAxis(pen, width, height);
}

function drawAxis(pen, width, height) {
  const y = height - AXIS;
  const step = niceStep(state.to - state.from, (width - NAMES) / 90);
  pen.fillStyle = theme.muted;
  pen.textAlign = "left";
  pen.fillText("frame", 0, y + 10);
  pen.textAlign = "center";
  const first = Math.ceil((data.firstFrame + state.from) / step) * step;
  for (let frame = first; frame < data.firstFrame + state.to; frame += step) {
    const x = xOfFrame(frame - data.firstFrame, width);
    pen.fillRect(x, y - 3, 1, 4);
    if (x > NAMES + 14 && x < width - 14) pen.fillText(String(frame), x, y + 10);
  }
  const x = xOfFrame(state.frame + 0.5, width);
  if (x < NAMES || x > width) return;
  pen.fillStyle = theme.ink;
  pen.fillRect(x - 1, 0, 2, y);
  pen.beginPath(); pen.moveTo(x - 5, 0); pen.lineTo(x + 5, 0); pen.lineTo(x, 6); pen.fill();
}

function zoom(factor, around = state.frame) {
  const span = Math.min(data.frames, Math.max(20, (state.to - state.from) * factor));
  const share = (around - state.from) / (state.to - state.from);
  state.from = Math.max(0, Math.min(data.frames - span, around - share * span));
  state.to = state.from + span;
}

// When the playhead leaves the stretch shown, show the next one.
function keepInView() {
  const span = state.to - state.from;
  if (state.frame >= state.from && state.frame < state.to) return;
  state.from = Math.max(0, Math.min(data.frames - span, state.frame - 0.1 * span));
  state.to = state.from + span;
}

function buildLegend() {
  const legend = byId("legend");
  for (const task of tasks) {
    const track = labelTrack(task);
    const name = document.createElement("b");
    name.textContent = task;
    const chips = document.createElement("div");
    chips.className = "chips";
    chips.dataset.task = task;
    track.classes.forEach((label, code) => {
      const chip = document.createElement("span"), dot = document.createElement("i");
      chip.className = "chip";
      dot.style.background = track.colours[code];
      chip.append(dot, label);
      chips.append(chip);
    });
    legend.append(name, chips);
  }
}

function markLegend() {
  for (const chips of byId("legend").querySelectorAll(".chips")) {
    const code = labelTrack(chips.dataset.task).codes[state.frame];
    [...chips.children].forEach((chip, index) => chip.classList.toggle("on", index === code));
  }
}
