// Rooms over Socket.IO as its documentation shows them: what a client publishes goes to everybody in the room.
// WebSocket only, everything else as Socket.IO sets it: no compression, a ping every 25 s.
// `node server.js [redis-url]`; prints where it listens.
"use strict";

const { createServer } = require("node:http");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

/** The adapter with which several such servers would be one. */
async function adapter(url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

async function welcome(socket, io) {
  // Before anything is waited for: the client may publish at once.
  socket.on("publish", (room, data) => io.to(room).emit("event", data));
  const { room } = socket.handshake.auth;
  if (room) await socket.join(room);
  socket.emit("joined");
}

async function main(redis) {
  const http = createServer();
  const io = new Server(http, { transports: ["websocket"], serveClient: false });
  if (redis) io.adapter(await adapter(redis));
  io.on("connection", (socket) => welcome(socket, io));
  http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
    console.log(`listening on 127.0.0.1:${http.address().port}`);
  });
}

main(process.argv[2]);
