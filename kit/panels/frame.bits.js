// Of FramePanel's front end: a frame's header, mask and payload, bit by bit and byte by byte.

const OPCODES = { 0: "CONT", 1: "TEXT", 2: "BINARY", 8: "CLOSE", 9: "PING", 10: "PONG" };

/** The bytes that hexadecimal digits name. */
export function bytesOfHex(hex) {
  return Uint8Array.from({ length: hex.length / 2 }, (_, index) => parseInt(hex.slice(2 * index, 2 * index + 2), 16));
}

/** Bytes as hexadecimal digits, with something between them. */
export function hexOf(bytes, between = " ") {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(between);
}

/** The bytes of a base64 text. */
export function bytesOfBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** What a frame's header says (RFC 6455 §5.2). */
export function readHeader(hex) {
  const bytes = bytesOfHex(hex);
  const [first, second] = bytes;
  const masked = Boolean(second & 128);
  const lengthBits = (second & 127) === 127 ? 64 : (second & 127) === 126 ? 16 : 7;
  return {
    fin: first >> 7,
    rsv: [(first >> 6) & 1, (first >> 5) & 1, (first >> 4) & 1],
    opcode: first & 15,
    name: OPCODES[first & 15] ?? "reserved",
    masked,
    length: second & 127,
    lengthBits,
    extended: lengthBits === 7 ? "" : hex.slice(4, 4 + lengthBits / 4),
    key: masked ? hex.slice(-8) : "",
  };
}

/** The fields of a frame in their order, with their real bits; the payload ends where its row of the picture ends. */
export function frameFields(hex, payload, perRow = 32) {
  const head = readHeader(hex);
  const bits = (digits) => Array.from(bytesOfHex(digits), (byte) => byte.toString(2).padStart(8, "0")).join("");
  const all = bits(hex);
  const fields = [
    { name: "FIN", bits: all[0], says: head.fin ? "last" : "more" },
    ...head.rsv.map((bit, index) => ({ name: `RSV${index + 1}`, bits: String(bit), says: "" })),
    { name: "opcode", bits: all.slice(4, 8), says: head.name },
    { name: "MASK", bits: all[8], says: "" },
    { name: "length", bits: all.slice(9, 16), says: head.lengthBits === 7 ? String(head.length) : `${head.length} = ${head.lengthBits} bits` },
  ];
  if (head.extended) fields.push({ name: "extended length", bits: bits(head.extended), says: BigInt(`0x${head.extended}`).toLocaleString("en") });
  if (head.key) fields.push({ name: "masking key", bits: bits(head.key), says: head.key.match(/../g).join(" ") });
  const used = fields.reduce((sum, field) => sum + field.bits.length, 0);
  const room = (perRow - (used % perRow)) % perRow || perRow;
  const shown = payload.slice(0, room / 8);
  if (shown.length) fields.push({ name: head.masked ? "payload, masked" : "payload", bits: bits(hexOf(shown, "")), says: hexOf(shown) });
  return fields;
}

/** Fields cut into rows of so many bits, as RFC 6455 draws them. */
export function bitRows(fields, perRow = 32) {
  const rows = [[]];
  let column = 0;
  for (const { name, bits, says } of fields) {
    for (let start = 0; start < bits.length; ) {
      if (column === perRow) {
        rows.push([]);
        column = 0;
      }
      const part = bits.slice(start, start + perRow - column);
      rows.at(-1).push({ name: start ? `${name}, continued` : name, bits: part, says: start ? "" : says, column });
      start += part.length;
      column += part.length;
    }
  }
  return rows;
}

/** Bytes under a masking key, or out from under it: the same operation (RFC 6455 §5.3). */
export function masked(bytes, key) {
  return bytes.map((byte, index) => byte ^ key[index % 4]);
}

/** Lines of a hex dump: offset, bytes, and as ASCII what is. */
export function hexLines(bytes, width = 16) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += width) {
    const part = bytes.slice(start, start + width);
    const half = (from) => hexOf(part.slice(from, from + 8));
    const hex = (width > 8 ? `${half(0).padEnd(23)}  ${half(8).padEnd(23)}` : half(0).padEnd(23));
    lines.push(`${start.toString(16).padStart(6, "0")}  ${hex}  ${asciiOf(part)}`);
  }
  return lines;
}

/** Bytes as the ASCII characters that can be seen, a dot for every other. */
export function asciiOf(bytes) {
  return Array.from(bytes, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
}

/** The picture of RFC 6455 §5.2 with a frame's own bits in it. */
export function bitPicture(hex, payload, size, perRow = 32) {
  const fields = frameFields(hex, payload, perRow);
  const told = fields.filter((field) => !field.name.startsWith("payload")).map((field) => `${field.name} ${field.bits}${field.says ? ` (${field.says})` : ""}`);
  const numbers = h("div", { class: "kit-bits-numbers" });
  for (let bit = 0; bit < perRow; bit += 1) numbers.append(h("span", { class: bit % 8 ? "" : "kit-bits-byte" }, String(bit)));
  const rows = bitRows(fields, perRow).map((row) => {
    const line = h("div", { class: "kit-bits-row" });
    for (const part of row) line.append(bitBox(part));
    return line;
  });
  const payloadShown = fields.at(-1).name.startsWith("payload") ? fields.at(-1).bits.length / 8 : 0;
  const rest = size - payloadShown;
  const picture = h("div", { class: "kit-bits", role: "img", style: `--kit-bits: ${perRow}`, "aria-label": `The header bit by bit: ${told.join(", ")}` }, numbers, ...rows);
  return h("div", {}, picture, h("p", { class: "kit-frame-caption" }, rest > 0 ? `and ${rest.toLocaleString("en")} more bytes of payload` : size ? "the whole payload is in the picture" : "no payload follows"));
}

function bitBox({ name, bits, says }) {
  const kind = name.replace(/,.*/, "").replace(/[^a-zA-Z]/g, "").toLowerCase();
  const single = bits.length === 1;
  const box = h("div", { class: `kit-bits-box kit-bits-${kind}${single ? " kit-bits-single" : ""}`, style: `grid-column: span ${bits.length}` });
  box.append(h("span", { class: "kit-bits-name" }, name));
  const digits = h("span", { class: "kit-bits-digits", style: `--kit-bits: ${bits.length}` });
  for (const bit of bits) digits.append(h("span", { class: bit === "1" ? "kit-bits-set" : "" }, bit));
  box.append(digits);
  if (!single) box.append(h("span", { class: "kit-bits-says" }, says || "\u00a0"));
  return box;
}

/** Mask, key and payload under each other, the first bytes of them. */
export function maskTable(payload, keyHex, most = 8) {
  const plain = payload.slice(0, most);
  const key = bytesOfHex(keyHex);
  const line = (title, cells) => h("tr", {}, h("th", { scope: "row" }, title), ...cells.map((cell) => h("td", {}, cell)));
  const hex = (bytes) => Array.from(bytes, (byte) => hexOf([byte]));
  const table = h(
    "table",
    { class: "kit-frame-mask" },
    h("tbody", {}, line("on the wire", hex(masked(plain, key))), line("XOR the key", hex(plain.map((_, index) => key[index % 4]))), line("= payload", hex(plain)), line("as ASCII", Array.from(asciiOf(plain)))),
  );
  return h("div", { class: "kit-frame-scroll" }, table, payload.length > most ? h("p", { class: "kit-frame-caption" }, `the first ${most} bytes; the key goes on from the beginning every four bytes`) : "");
}
