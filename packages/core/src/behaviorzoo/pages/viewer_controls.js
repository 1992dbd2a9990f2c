"use strict";
// Buttons, keys, mouse and the clock.

let queued = false;
function redraw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    drawPose(); drawMap(); drawTracks(); markLegend(); showNumbers();
  });
}

function showNumbers() {
  byId("scrubber").value = state.frame;
  if (document.activeElement !== byId("number")) byId("number").value = data.firstFrame + state.frame;
  const seconds = (data.firstFrame + state.frame) / data.fps;
  const minutes = Math.floor(seconds / 60);
  byId("clock").textContent = `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")} min`;
}

function goTo(frame) {
  state.frame = Math.max(0, Math.min(data.frames - 1, Math.round(frame)));
  keepInView();
  redraw();
}

let lastTime = 0, owed = 0;
function tick(time) {
  if (!state.playing) return;
  owed += ((time - lastTime) / 1000) * data.fps * state.speed;
  lastTime = time;
  const steps = Math.floor(owed);
  if (steps) {
    owed -= steps;
    goTo(state.frame + steps);
    if (state.frame >= data.frames - 1) return play(false);
  }
  requestAnimationFrame(tick);
}

function play(on) {
  state.playing = on;
  byId("play").textContent = on ? "❚❚" : "▶";
  if (!on) return;
  if (state.frame >= data.frames - 1) goTo(0);
  owed = 0;
  lastTime = performance.now();
  requestAnimationFrame(tick);
}

function fillSelect(select, names, chosen) {
  for (const name of names) select.append(new Option(name, name, false, name === chosen));
}

function setUp() {
  readTheme();
  for (const { name, colour } of data.individuals) {
    const person = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = colour;
    person.append(dot, name);
    byId("people").append(person);
  }
  if (I > 1) data.individuals.forEach(({ name }, i) => byId("framing").append(new Option("follow " + name, i)));
  state.task = tasks[0] || "";
  fillSelect(byId("level"), maps.keys(), state.level);
  fillSelect(byId("colour"), tasks, state.task);
  byId("colour-label").hidden = !tasks.length;
  byId("scrubber").max = data.frames - 1;
  byId("number").min = data.firstFrame;
  byId("number").max = data.firstFrame + data.frames - 1;
  byId("rotate-hint").hidden = S < 3;
  if (!maps.size) {
    byId("map-card").hidden = true;
    document.querySelector(".views").classList.add("single");
  }
  buildLegend();
  showShares();
  listen();
  new ResizeObserver(redraw).observe(document.querySelector(".app"));
  redraw();
}

function showShares() {
  const map = maps.get(state.level);
  if (!map) return;
  const percent = map.shares.map((share) => (100 * share).toFixed(0) + " %");
  byId("map-hint").textContent = `Two principal components of this recording's frames: ${percent[0]} and ${percent[1]} of the variance. Click goes to the nearest frame.`;
}

function listen() {
  byId("play").onclick = () => play(!state.playing);
  byId("back").onclick = () => goTo(state.frame - 1);
  byId("ahead").onclick = () => goTo(state.frame + 1);
  byId("scrubber").oninput = (event) => goTo(Number(event.target.value));
  byId("number").onchange = (event) => { goTo(Number(event.target.value) - data.firstFrame); event.target.blur(); };
  byId("speed").onchange = (event) => { state.speed = Number(event.target.value); };
  byId("framing").onchange = () => { followed = null; redraw(); };
  byId("trails").onchange = redraw;
  byId("zoom-in").onclick = () => { zoom(0.5); redraw(); };
  byId("zoom-out").onclick = () => { zoom(2); redraw(); };
  byId("zoom-all").onclick = () => { zoom(Infinity); redraw(); };
  byId("colour").onchange = (event) => { state.task = event.target.value; redraw(); };
  byId("level").onchange = (event) => { state.level = event.target.value; showShares(); redraw(); };
  if (maps.size) byId("map").onclick = (event) => goTo(frameNear(event.offsetX, event.offsetY));
  listenToTracks();
  if (S === 3) listenToRotation();
  addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").onchange = () => { readTheme(); redraw(); };
}

function listenToTracks() {
  const canvas = byId("tracks");
  const seek = (event) => goTo(frameOfX(event.offsetX, canvas.clientWidth));
  canvas.onpointerdown = (event) => { if (event.isTrusted) canvas.setPointerCapture(event.pointerId); seek(event); };
  canvas.onpointermove = (event) => { if (event.buttons) seek(event); };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 400), frameOfX(event.offsetX, canvas.clientWidth));
    redraw();
  }, { passive: false });
}

function listenToRotation() {
  byId("pose").onpointermove = (event) => {
    if (!event.buttons) return;
    state.yaw += event.movementX / 150;
    state.tilt = Math.max(0, Math.min(Math.PI / 2, state.tilt + event.movementY / 150));
    redraw();
  };
}

function onKey(event) {
  // Fields and menus keep their own keys.
  if (event.target instanceof Element && event.target.matches("select, input[type=number]")) return;
  const second = Math.round(data.fps);
  const actions = {
    " ": () => play(!state.playing),
    ArrowLeft: () => goTo(state.frame - (event.shiftKey ? second : 1)),
    ArrowRight: () => goTo(state.frame + (event.shiftKey ? second : 1)),
    Home: () => goTo(0),
    End: () => goTo(data.frames - 1),
    "+": () => { zoom(0.5); redraw(); },
    "-": () => { zoom(2); redraw(); },
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

setUp();
