// Rooms on Socket.IO: a client that joins gets the list of members and is announced to them; then members send to one,
// or to all others. It listens on a free port and prints it.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  let room;
  socket.on("join", (name) => {
    room = name;
    const others = [...(io.sockets.adapter.rooms.get(room) ?? [])];
    socket.to(room).emit("joined", socket.id);
    socket.join(room);
    socket.emit("authenticated", others);
  });
  socket.on("one", (id, event, data) => io.to(id).emit(event, data, socket.id));
  socket.on("all", (event, data) => socket.to(room).emit(event, data, socket.id));
});

http.listen(0, "127.0.0.1", () => {
  const { address, port } = http.address();
  console.log(`${address}:${port}`);
});
