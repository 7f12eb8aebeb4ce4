// The canvas of a session: tokens glide to where they were moved, strokes fade, cursors follow their users.

const WIDTH = 1000;
const HEIGHT = 620;
const STROKE_MS = 25000;
const CURSOR_MS = 4000;
// Told apart also by people who see fewer colours (Okabe and Ito).
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const finite = (value, most) => Math.max(0, Math.min(most, Number(value) || 0));

export class Table {
  constructor(canvas) {
    this.canvas = canvas;
    this.ink = canvas.getContext("2d");
    this.tokens = new Map();
    this.cursors = new Map();
    this.strokes = [];
    this.colors = new Map();
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = WIDTH * ratio;
    canvas.height = HEIGHT * ratio;
    this.ink.scale(ratio, ratio);
    const frame = () => {
      this.draw(Date.now());
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  // Where on the table a pointer event is.
  position(pointer) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: Math.round(finite(((pointer.clientX - box.left) / box.width) * WIDTH, WIDTH)),
      y: Math.round(finite(((pointer.clientY - box.top) / box.height) * HEIGHT, HEIGHT)),
    };
  }

  apply({ event, data, userId, timestamp }, mine) {
    const user = userId ?? "backend";
    const x = finite(data?.x, WIDTH);
    const y = finite(data?.y, HEIGHT);
    switch (event) {
      case "cursor.move": {
        if (mine) return;
        const cursor = this.cursors.get(user) ?? { x, y };
        this.cursors.set(user, { ...cursor, toX: x, toY: y, at: Date.now() });
        return;
      }
      case "token.move": {
        const id = String(data?.tokenId ?? user);
        const token = this.tokens.get(id) ?? { x, y };
        this.tokens.set(id, { ...token, toX: x, toY: y, owner: user });
        return;
      }
      case "draw": {
        const points = Array.isArray(data?.points) ? data.points.slice(0, 500) : [];
        const at = Math.max(timestamp, Date.now() - STROKE_MS / 2);
        this.strokes.push({ points, at, user, size: finite(data?.size, 30) || 3 });
        if (this.strokes.length > 200) this.strokes.shift();
        return;
      }
      case "clear":
        this.strokes = [];
    }
  }

  color(user) {
    if (!this.colors.has(user)) this.colors.set(user, COLORS[this.colors.size % COLORS.length]);
    return this.colors.get(user);
  }

  draw(now) {
    const { ink } = this;
    const style = getComputedStyle(this.canvas);
    ink.clearRect(0, 0, WIDTH, HEIGHT);
    ink.strokeStyle = style.borderTopColor;
    ink.lineWidth = 1;
    ink.globalAlpha = 0.5;
    ink.beginPath();
    for (let x = 50; x < WIDTH; x += 50) { ink.moveTo(x, 0); ink.lineTo(x, HEIGHT); }
    for (let y = 50; y < HEIGHT; y += 50) { ink.moveTo(0, y); ink.lineTo(WIDTH, y); }
    ink.stroke();

    this.strokes = this.strokes.filter((stroke) => now - stroke.at < STROKE_MS);
    ink.lineCap = ink.lineJoin = "round";
    for (const stroke of this.strokes) {
      ink.globalAlpha = 0.8 * (1 - (now - stroke.at) / STROKE_MS);
      ink.strokeStyle = this.color(stroke.user);
      ink.lineWidth = stroke.size;
      ink.beginPath();
      stroke.points.forEach((point, index) => {
        const to = index ? "lineTo" : "moveTo";
        ink[to](finite(point?.x, WIDTH), finite(point?.y, HEIGHT));
      });
      ink.stroke();
    }
    ink.globalAlpha = 1;
    ink.font = "600 13px system-ui, sans-serif";
    ink.textAlign = "center";
    for (const [id, token] of this.tokens) {
      glide(token, 0.12);
      ink.fillStyle = this.color(token.owner);
      ink.beginPath();
      ink.arc(token.x, token.y, 20, 0, 2 * Math.PI);
      ink.fill();
      ink.fillStyle = "#fff";
      ink.fillText(id.slice(0, 2).toUpperCase(), token.x, token.y + 5);
    }
    ink.textAlign = "left";
    for (const [user, cursor] of this.cursors) {
      if (now - cursor.at > CURSOR_MS) {
        this.cursors.delete(user);
        continue;
      }
      glide(cursor, 0.35);
      ink.fillStyle = this.color(user);
      ink.beginPath();
      ink.moveTo(cursor.x, cursor.y);
      ink.lineTo(cursor.x + 4, cursor.y + 17);
      ink.lineTo(cursor.x + 13, cursor.y + 11);
      ink.closePath();
      ink.fill();
      ink.fillText(user.slice(0, 24), cursor.x + 14, cursor.y + 24);
    }
  }
}

// A step of the way to where it was moved.
function glide(thing, share) {
  thing.x += (thing.toX - thing.x) * share;
  thing.y += (thing.toY - thing.y) * share;
}
