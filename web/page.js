// The development page: one WebSocket, one channel, drawn as it comes.
//
// It is also the shortest example of a client: connect with a token in the subprotocol, subscribe from the
// last cursor, check `prev`, and after a lost connection do the same again. Nothing is loaded from elsewhere.
import { Table } from "/dev/table.js";

const CHANNEL = "session.demo";
const by = (id) => document.getElementById(id);
const table = new Table(by("canvas"));

let socket = null;
let me = { guest: sessionStorage.getItem("guest") };
let cursor = null; // of the last durable event shown
let attempt = 0;
let requests = 0;
let events = 0;
let missing = 0;
let recent = [];
let delays = [];
let connectedBefore = false;
let live = false; // past the history that was asked for

function badge(state, text) {
  by("badge").className = `badge ${state}`;
  by("badge").textContent = text ?? state;
}

async function connect() {
  badge(connectedBefore ? "reconnecting" : "connecting");
  try {
    // The same guest after a reload, another one in another window.
    const query = me.guest ? `?guest=${me.guest}` : "";
    const answer = await fetch(`/dev/token${query}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    me = { ...me, ...(await answer.json()) };
    sessionStorage.setItem("guest", me.guest);
  } catch {
    return later();
  }
  const url = new URL("/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url, ["rivermouth.v1", `bearer.${me.token}`]);
  socket.onmessage = (frame) => {
    // A frame may hold several messages, one a line.
    for (const line of String(frame.data).split("\n")) if (line) receive(JSON.parse(line));
  };
  socket.onclose = (closed) => {
    socket = null;
    // 3500 and above: not before something changes.
    if (closed.code >= 3500 && closed.code < 4000 && closed.code !== 3501) {
      return badge("refused", `refused (${closed.code})`);
    }
    later();
  };
}

function later() {
  badge(connectedBefore ? "reconnecting" : "connecting");
  const most = Math.min(30000, 500 * 2 ** attempt++);
  setTimeout(connect, Math.random() * most);
}

function request(method, params) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ type: "request", id: String(++requests), method, params }));
}

function publish(event, data) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ type: "event", channel: CHANNEL, event, data }));
}

function receive(message) {
  if (message.type === "error") return note(`${message.error.name}: ${message.error.message}`);
  if (message.type !== "event") return;
  switch (message.event) {
    case "connected":
      me.user = message.data.userId;
      by("who").textContent = `you are ${me.user} on node ${message.data.node}`;
      attempt = 0;
      live = false;
      badge("connected");
      if (connectedBefore) note("connected again, resuming from the last cursor");
      connectedBefore = true;
      return request("subscribe", { channel: CHANNEL, since: cursor ?? { last: 300 } });
    case "caught_up":
      live = true;
      return;
    case "heartbeat":
    case "subscribed":
    case "token_expiring":
      return;
    case "lagging":
      return note("this page is too slow, the server reads the log for it");
    case "gap":
      missing += 1;
      by("missing").textContent = missing;
      cursor = null;
      return note(`a part of the history is gone (${message.data.reason})`);
  }
  if (message.channel === CHANNEL) show(message);
}

function show(event) {
  const now = Date.now();
  events += 1;
  recent.push(now);
  if (event.cursor) {
    // `prev` names the event before: the page proves for itself that nothing was left out.
    if (cursor !== null && event.prev !== cursor && !event.addressed) {
      missing += 1;
      by("missing").textContent = missing;
    }
    if (!event.addressed) cursor = event.cursor;
    by("cursor").textContent = event.cursor;
  }
  const age = now - event.timestamp;
  if (live && age >= 0) delays.push(age);
  table.apply(event, event.userId === me.user);
  const line = sentence(event);
  if (line) feed(event.userId, line, event.timestamp);
}

function sentence({ event, data }) {
  switch (event) {
    case "chat.message": return `“${data?.text ?? ""}”`;
    case "dice.roll": return `rolled ${data?.value} on a d${data?.sides}`;
    case "turn.changed": return `it is ${data?.name ?? data?.userId}'s turn`;
    case "user.joined": return "joined";
    case "user.left": return "left";
    case "note.edited": return "edited a note";
    case "clear": return "cleared the table";
    case "draw": case "token.move": case "cursor.move": return null;
    default: return `${event} ${JSON.stringify(data)}`.slice(0, 160);
  }
}

function feed(user, text, timestamp) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date(timestamp).toLocaleTimeString();
  const name = document.createElement("b");
  name.textContent = user ?? "backend";
  item.append(time, name, ` ${text}`);
  push(item);
}

function note(text) {
  const item = document.createElement("li");
  item.className = "system";
  item.textContent = text;
  push(item);
}

function push(item) {
  const list = by("feed");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  while (list.children.length > 200) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

setInterval(() => {
  const since = Date.now() - 1000;
  recent = recent.filter((at) => at > since);
  delays = delays.slice(-50);
  const sorted = [...delays].sort((a, b) => a - b);
  by("count").textContent = events.toLocaleString();
  by("rate").textContent = recent.length;
  by("latency").textContent = sorted.length ? `${sorted[sorted.length >> 1]} ms` : "–";
}, 250);

let moved = 0;
by("canvas").addEventListener("pointermove", (move) => {
  // At most 30 a second: the newest wins anyway.
  if (performance.now() - moved < 33) return;
  moved = performance.now();
  publish("cursor.move", table.position(move));
});
by("canvas").addEventListener("pointerdown", (press) => {
  publish("token.move", { tokenId: me.user, ...table.position(press) });
});
by("say").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const text = by("text").value.trim();
  if (text) publish("chat.message", { text });
  by("text").value = "";
});
by("cut").addEventListener("click", () => {
  if (!socket) return;
  note("connection cut");
  socket.onclose = null;
  socket.close();
  socket = null;
  badge("reconnecting", "cut, back in 3 s");
  setTimeout(connect, 3000);
});

connect();
