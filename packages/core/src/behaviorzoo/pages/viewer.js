"use strict";
// State, decoding, and the two pictures: poses and embedding map.

const data = JSON.parse(document.getElementById("page-data").textContent);
const MISSING = -32768;
const byId = (id) => document.getElementById(id);
const state = { frame: 0, playing: false, speed: 1, level: data.level, task: "", yaw: 0.5, tilt: 0.6, from: 0, to: data.frames };

function decode(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const width = packed.offset.length;
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    const step = view.getInt16(2 * i, true);
    values[i] = step === MISSING ? NaN : step * packed.scale + packed.offset[i % width];
  }
  return values;
}

const S = data.space, K = data.keypoints.length, I = data.individuals.length;
const positions = decode(data.positions);
const maps = new Map(data.maps.map((map) => [map.level, { ...map, points: decode(map) }]));

// Codes per frame of every track, from its runs (start, stop, code, ...).
for (const track of data.tracks) {
  track.codes = new Int16Array(data.frames).fill(-1);
  for (let r = 0; r < track.runs.length; r += 3) track.codes.fill(track.runs[r + 2], track.runs[r], track.runs[r + 1]);
}

// The key point of each individual that is seen most often leaves the trail: a mean of the points
// would jump whenever one of them is lost.
const leaders = data.individuals.map((_, i) => {
  const seen = new Array(K).fill(0);
  for (let t = 0; t < data.frames; t++) for (let k = 0; k < K; k++) if (!Number.isNaN(positions[((t * I + i) * K + k) * S])) seen[k]++;
  return seen.indexOf(Math.max(...seen));
});

const theme = {};
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "muted", "rule", "card", "accent", "paper"]) theme[name] = style.getPropertyValue("--" + name).trim();
  theme.font = "12px " + getComputedStyle(document.body).fontFamily;
}

function surface(canvas) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineJoin = pen.lineCap = "round";
  return { pen, width, height };
}

// ---- poses ----

const centre = data.bounds.low.map((low, s) => (low + data.bounds.high[s]) / 2);

// A point of the world as two coordinates, y downwards as in an image; three dimensions are seen
// from the side at an angle, z upwards.
function flat(values, at) {
  const x = values[at] - centre[0], y = values[at + 1] - centre[1];
  if (S === 2) return [x, y];
  const cos = Math.cos(state.yaw), sin = Math.sin(state.yaw), z = values[at + 2] - centre[2];
  return [cos * x - sin * y, (sin * x + cos * y) * Math.sin(state.tilt) - z * Math.cos(state.tilt)];
}

function arenaCorners() {
  const corners = [];
  for (let c = 0; c < 2 ** S; c++) corners.push(flat(centre.map((_, s) => ((c >> s) & 1 ? data.bounds.high : data.bounds.low)[s]), 0));
  return corners;
}

function boxOf(points) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    if (Number.isNaN(x)) continue;
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y); box[2] = Math.max(box[2], x); box[3] = Math.max(box[3], y);
  }
  return box;
}

function posesOf(frame) {
  const all = [];
  for (let p = 0; p < I * K; p++) all.push(flat(positions, (frame * I * K + p) * S));
  return all;
}

let followed = null;
function poseWindow(points, width, height) {
  const arena = boxOf(arenaCorners());
  let box = arena;
  const framing = byId("framing").value;
  if (framing !== "arena") {
    // "all", or the number of one individual.
    const near = boxOf(framing === "all" ? points : points.slice(framing * K, (Number(framing) + 1) * K));
    if (Number.isFinite(near[0])) {
      const least = Math.max(arena[2] - arena[0], arena[3] - arena[1]) / 8;
      const mid = [(near[0] + near[2]) / 2, (near[1] + near[3]) / 2];
      const half = Math.max(near[2] - near[0], near[3] - near[1], least) * 0.62;
      const goal = [mid[0] - half, mid[1] - half, mid[0] + half, mid[1] + half];
      // Glide while playing, so that the view does not shake.
      const share = followed && state.playing ? 0.12 : 1;
      followed = goal.map((value, i) => (followed && share < 1 ? followed[i] + share * (value - followed[i]) : value));
    }
    box = followed || arena;
  }
  const scale = 0.92 * Math.min(width / Math.max(box[2] - box[0], 1e-6), height / Math.max(box[3] - box[1], 1e-6));
  const mid = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  return ([x, y]) => [width / 2 + (x - mid[0]) * scale, height / 2 + (y - mid[1]) * scale];
}

function drawArena(pen, place) {
  const corners = arenaCorners().map(place);
  pen.strokeStyle = theme.rule;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let c = 0; c < corners.length; c++) for (let s = 0; s < S; s++) {
    const other = c ^ (1 << s);
    if (other > c) { pen.moveTo(...corners[c]); pen.lineTo(...corners[other]); }
  }
  pen.stroke();
}

function drawPose() {
  const { pen, width, height } = surface(byId("pose"));
  const points = posesOf(state.frame);
  const place = poseWindow(points, width, height);
  drawArena(pen, place);
  data.individuals.forEach((individual, i) => {
    pen.strokeStyle = pen.fillStyle = individual.colour;
    if (byId("trails").checked) drawTrail(pen, place, i);
    const own = points.slice(i * K, (i + 1) * K).map(place);
    pen.lineWidth = 2.2;
    pen.beginPath();
    for (const [a, b] of data.edges) {
      // A line to a missing point is not drawn: nothing is made up.
      if (Number.isNaN(own[a][0]) || Number.isNaN(own[b][0])) continue;
      pen.moveTo(...own[a]); pen.lineTo(...own[b]);
    }
    pen.stroke();
    for (const [x, y] of own) {
      if (Number.isNaN(x)) continue;
      pen.beginPath(); pen.arc(x, y, 3.2, 0, 7); pen.fill();
    }
  });
  if (points.every(([x]) => Number.isNaN(x))) {
    pen.fillStyle = theme.muted; pen.font = theme.font; pen.textAlign = "center";
    pen.fillText("no point was tracked in this frame", width / 2, height / 2);
  }
}

function drawTrail(pen, place, i) {
  const length = Math.round(2 * data.fps);
  pen.lineWidth = 1.6;
  for (let t = Math.max(1, state.frame - length); t <= state.frame; t++) {
    const [x0, y0] = place(flat(positions, (((t - 1) * I + i) * K + leaders[i]) * S));
    const [x1, y1] = place(flat(positions, ((t * I + i) * K + leaders[i]) * S));
    if (Number.isNaN(x0) || Number.isNaN(x1)) continue;
    pen.globalAlpha = 0.5 * (1 - (state.frame - t) / (length + 1));
    pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke();
  }
  pen.globalAlpha = 1;
}

// ---- embedding map ----

const MAP_POINTS = 8000;
let mapLayer = null;

function mapPlace(width, height) {
  const points = maps.get(state.level).points;
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    if (Number.isNaN(points[i])) continue;
    box[0] = Math.min(box[0], points[i]); box[1] = Math.min(box[1], points[i + 1]);
    box[2] = Math.max(box[2], points[i]); box[3] = Math.max(box[3], points[i + 1]);
  }
  const pad = 16;
  const across = (width - 2 * pad) / Math.max(box[2] - box[0], 1e-9), down = (height - 2 * pad) / Math.max(box[3] - box[1], 1e-9);
  return (frame) => [pad + (points[2 * frame] - box[0]) * across, height - pad - (points[2 * frame + 1] - box[1]) * down];
}

function labelTrack(task) {
  const own = data.tracks.filter((track) => track.task === task);
  return own.find((track) => !track.level) || own.find((track) => track.level === state.level) || own[0];
}

// All frames are drawn once and kept; only the marker moves.
function mapBackground(width, height, place) {
  const key = [width, height, devicePixelRatio, state.level, state.task, theme.card].join("|");
  if (mapLayer && mapLayer.key === key) return mapLayer.canvas;
  const canvas = document.createElement("canvas");
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const track = labelTrack(state.task);
  const step = Math.max(1, Math.ceil(data.frames / MAP_POINTS));
  const radius = data.frames / step > 3000 ? 1.6 : 2.2;
  pen.globalAlpha = 0.7;
  // A stride that is coprime to the number of frames mixes early and late ones, so that no
  // class is painted over by those that come later in time.
  for (let n = 0; n < data.frames; n += step) {
    const frame = (n * 7919) % data.frames;
    const [x, y] = place(frame);
    if (Number.isNaN(x)) continue;
    const code = track ? track.codes[frame] : -1;
    pen.fillStyle = code >= 0 ? track.colours[code] : track ? theme.rule : theme.accent;
    pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.fill();
  }
  mapLayer = { key, canvas };
  return canvas;
}

function drawMap() {
  if (!maps.size) return;
  const { pen, width, height } = surface(byId("map"));
  if (width < 40 || height < 40) return;
  const place = mapPlace(width, height);
  pen.drawImage(mapBackground(width, height, place), 0, 0, width, height);
  pen.strokeStyle = theme.ink; pen.lineWidth = 1.5;
  const length = Math.round(data.fps);
  for (let t = Math.max(1, state.frame - length); t <= state.frame; t++) {
    const [x0, y0] = place(t - 1), [x1, y1] = place(t);
    if (Number.isNaN(x0) || Number.isNaN(x1)) continue;
    pen.globalAlpha = 0.6 * (1 - (state.frame - t) / (length + 1));
    pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke();
  }
  pen.globalAlpha = 1;
  const [x, y] = place(state.frame);
  if (Number.isNaN(x)) return;
  pen.beginPath(); pen.arc(x, y, 7, 0, 7); pen.fillStyle = theme.card; pen.fill(); pen.lineWidth = 2.5; pen.stroke();
  pen.beginPath(); pen.arc(x, y, 2.6, 0, 7); pen.fillStyle = theme.ink; pen.fill();
}

function frameNear(x, y) {
  const canvas = byId("map"), place = mapPlace(canvas.clientWidth, canvas.clientHeight);
  let best = -1, least = Infinity;
  for (let frame = 0; frame < data.frames; frame++) {
    const [px, py] = place(frame);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) { least = distance; best = frame; }
  }
  return best;
}
