// Payload decoder of Funkspatz nodes. Made by `spatz decoder` from boards/quantities.toml; edit that.
// For every network server that follows the LoRa Alliance's TS013-1.0.0 (Payload Codec API): ChirpStack,
// The Things Stack and others. ECMAScript 5.1, strict.
//
// decodeUplink: the current reading of any frame on fPort 1, alone, without memory. What stands behind the reading
// (parity, answers, earlier readings) is left to the nest; only the reading's age is taken from there.
//   data: each quantity by its name, in the unit of the table below. What was not measured is not there.
//   data.failed, data.out_of_range: names of quantities that have no value; not there when there are none.
//   data.age_s: seconds from the measurement to the beginning of the transmission; not there when it is the same moment.
// encodeDownlink, decodeDownlink: settings for the node, on fPort 2, such as
//   {"ticket": 7, "interval_s": 900, "parity": 2, "confirmed": true,
//    "log": [{"session": 3, "fcnt": 1200, "count": 24}], "restart": true}
//   log: readings to send again; an empty list ends what an earlier one asked for.
//   ticket: 1 to 255, another one for each order; the node's answer names it.
"use strict";

var FPORT_READING = 1;
var FPORT_SETTINGS = 2;

// One row per quantity, in the order of the presence bits: presence bit, name, bits of the code, and
// value = (lowest + code * step) / scale, which is exact.
var QUANTITIES = [
  [0, "temperature", 11, -600, 1, 10], // Cel
  [1, "humidity", 8, 0, 5, 10], // %
  [2, "pressure", 12, 6800, 1, 10], // hPa
  [3, "battery", 8, 200, 1, 100], // V
  [4, "pm2_5", 14, 0, 1, 10], // ug/m3
  [5, "pm10", 14, 0, 1, 10], // ug/m3
  [6, "co2", 13, 0, 1, 1], // [ppm]
  [7, "illuminance", 17, 0, 1, 1], // lx
  [8, "soil_moisture", 7, 0, 1, 1], // %
  [9, "soil_temperature", 10, -300, 1, 10], // Cel
  [10, "rain", 16, 0, 1, 10], // mm
  [11, "water_level", 14, -1000, 1, 10] // cm
];

// Settings of one number: name, command, lowest, highest, bytes.
var NUMBERS = [
  ["interval_s", 1, 5, 65535, 2],
  ["parity", 2, 0, 4, 1]
];
var CONFIRMED = 3;
var LOG = 4;
var RESTART = 5;
var MOST_RANGES = 10; // of the log, in one order: beside one of each other command that makes 51 bytes, as DR0 carries

// Bytes of an item behind a reading, its type included; EARLIER (4) has its own length.
var ITEM_SIZES = { 1: 3, 2: 3, 3: 2, 5: 5 };
var AGE = 1;
var EARLIER = 4;

function decodeUplink(input) {
  var bytes = bytesOf(input);
  var layout, codes, age;
  var data = {};
  var failed = [];
  var outOfRange = [];
  var warnings = [];
  var i, row, highest;

  if (!bytes) {
    return refusal("input.bytes must be an array of whole numbers from 0 to 255");
  }
  if (input.fPort !== FPORT_READING) {
    return refusal("fPort " + shown(input.fPort) + " carries no reading");
  }
  if (bytes.length === 0) {
    return refusal("empty");
  }
  layout = layoutAt(bytes, 0);
  if (layout.error) {
    return refusal(layout.error);
  }
  if (layout.end > bytes.length) {
    return refusal(bytes.length + " bytes, but the presence bitmap promises " + layout.end);
  }
  codes = codesAt(bytes, layout.start, layout.present);
  if (!codes) {
    return refusal("the padding behind the values is not zero");
  }
  for (i = 0; i < codes.length; i += 1) {
    row = layout.present[i];
    highest = Math.pow(2, row[2]) - 1;
    if (codes[i] === highest) {
      failed.push(row[1]);
      warnings.push(row[1] + ": the sensor failed");
    } else if (codes[i] === highest - 1) {
      outOfRange.push(row[1]);
      warnings.push(row[1] + ": out of range");
    } else {
      data[row[1]] = (row[3] + codes[i] * row[4]) / row[5];
    }
  }
  if (failed.length) {
    data.failed = failed;
  }
  if (outOfRange.length) {
    data.out_of_range = outOfRange;
  }
  age = ageIn(bytes.slice(layout.end));
  if (age > 0) {
    data.age_s = age / 4;
  }
  return success({ data: data }, warnings);
}

function encodeDownlink(input) {
  var data = input && input.data;
  var bytes = [];
  var errors = [];
  var known = { ticket: true, confirmed: true, log: true, restart: true };
  var i, name, row, value;

  if (typeof data !== "object" || data === null) {
    return refusal("input.data must be an object with settings");
  }
  if (isWhole(data.ticket, 1, 255)) {
    bytes.push(data.ticket);
  } else {
    errors.push("ticket must be a whole number from 1 to 255");
  }
  for (i = 0; i < NUMBERS.length; i += 1) {
    row = NUMBERS[i];
    known[row[0]] = true;
    value = data[row[0]];
    if (isWhole(value, row[2], row[3])) {
      bytes.push(row[1]);
      pushNumber(bytes, value, row[4]);
    } else if (value !== undefined) {
      errors.push(row[0] + " must be a whole number from " + row[2] + " to " + row[3]);
    }
  }
  if (data.confirmed === true || data.confirmed === false) {
    bytes.push(CONFIRMED, data.confirmed ? 1 : 0);
  } else if (data.confirmed !== undefined) {
    errors.push("confirmed must be true or false");
  }
  if (data.log !== undefined) {
    encodeLog(data.log, bytes, errors);
  }
  if (data.restart === true) {
    bytes.push(RESTART);
  } else if (data.restart !== undefined && data.restart !== false) {
    errors.push("restart must be true or false");
  }
  for (name in data) {
    if (known[name] !== true) {
      errors.push(name + " is not a setting");
    }
  }
  if (!errors.length && bytes.length < 2) {
    errors.push("there is no setting in it");
  }
  if (errors.length) {
    return { errors: errors };
  }
  return { fPort: FPORT_SETTINGS, bytes: bytes };
}

function decodeDownlink(input) {
  var bytes = bytesOf(input);
  var data = {};
  var warnings = [];
  var at = 1;
  var command;

  if (!bytes) {
    return refusal("input.bytes must be an array of whole numbers from 0 to 255");
  }
  if (input.fPort !== FPORT_SETTINGS) {
    return refusal("fPort " + shown(input.fPort) + " carries no settings");
  }
  if (!bytes.length || bytes[0] === 0) {
    return refusal("there is no ticket");
  }
  data.ticket = bytes[0];
  while (at < bytes.length) {
    command = commandAt(bytes, at);
    if (!command) {
      return refusal("the command at byte " + at + " is unknown, cut off or impossible");
    }
    if (data[command.name] !== undefined) {
      warnings.push(command.name + " stands there twice; the later one counts");
    }
    data[command.name] = command.value;
    at = command.end;
  }
  return success({ data: data }, warnings);
}

// The command at bytes[at]: {name, value, end: where the next one begins}, or null.
function commandAt(bytes, at) {
  var kind = bytes[at];
  var i, row, value, end;
  for (i = 0; i < NUMBERS.length; i += 1) {
    row = NUMBERS[i];
    end = at + 1 + row[4];
    if (kind === row[1] && end <= bytes.length) {
      value = numberAt(bytes, at + 1, row[4]);
      return isWhole(value, row[2], row[3]) ? { name: row[0], value: value, end: end } : null;
    }
  }
  if (kind === CONFIRMED && bytes[at + 1] <= 1) {
    return { name: "confirmed", value: bytes[at + 1] === 1, end: at + 2 };
  }
  if (kind === LOG && bytes[at + 1] <= MOST_RANGES) {
    end = at + 2 + 4 * bytes[at + 1];
    value = end <= bytes.length ? rangesAt(bytes, at + 2, end) : null;
    return value && { name: "log", value: value, end: end };
  }
  return kind === RESTART ? { name: "restart", value: true, end: at + 1 } : null;
}

// Append the command that asks for readings of the node's log, or say in `errors` what is wrong with it.
function encodeLog(ranges, bytes, errors) {
  var i, range;
  if (typeof ranges !== "object" || ranges === null || !isWhole(ranges.length, 0, MOST_RANGES)) {
    errors.push("log must be a list of at most " + MOST_RANGES + " ranges");
    return;
  }
  bytes.push(LOG, ranges.length);
  for (i = 0; i < ranges.length; i += 1) {
    range = ranges[i] || {};
    if (isWhole(range.session, 0, 255) && isWhole(range.fcnt, 0, 65535) && isWhole(range.count, 1, 255)) {
      bytes.push(range.session);
      pushNumber(bytes, range.fcnt, 2);
      bytes.push(range.count);
    } else {
      errors.push("log range " + (i + 1) + " must have session (0 to 255), fcnt (0 to 65535) and count (1 to 255)");
    }
  }
}

// The ranges of the node's log in bytes[at] to bytes[end - 1], or null.
function rangesAt(bytes, at, end) {
  var ranges = [];
  for (; at < end; at += 4) {
    if (bytes[at + 3] === 0) {
      return null;
    }
    ranges.push({ session: bytes[at], fcnt: numberAt(bytes, at + 1, 2), count: bytes[at + 3] });
  }
  return ranges;
}

// A plain array of the input's bytes, or null.
function bytesOf(input) {
  var source = input && input.bytes;
  var bytes = [];
  var i;
  if (typeof source !== "object" || source === null || !isWhole(source.length, 0, 65535)) {
    return null;
  }
  for (i = 0; i < source.length; i += 1) {
    if (!isWhole(source[i], 0, 255)) {
      return null;
    }
    bytes.push(source[i]);
  }
  return bytes;
}

// What the presence bitmap at bytes[at] says: {present: rows of QUANTITIES, start: of the values, end: of the values}
// or {error: what is wrong with it}.
function layoutAt(bytes, at) {
  var present = [];
  var bits = 0;
  var first = 0;
  var one, place, row;
  do {
    if (at >= bytes.length) {
      return { error: "the presence bitmap does not end" };
    }
    one = bytes[at];
    for (place = 0; place < 7; place += 1) {
      if ((one >> place) & 1) {
        row = rowOf(first + place);
        if (!row) {
          return { error: "presence bit " + (first + place) + " is not in the table of quantities" };
        }
        present.push(row);
        bits += row[2];
      }
    }
    at += 1;
    first += 7;
  } while (one & 0x80);
  return { present: present, start: at, end: at + Math.ceil(bits / 8) };
}

function rowOf(bit) {
  var i;
  for (i = 0; i < QUANTITIES.length; i += 1) {
    if (QUANTITIES[i][0] === bit) {
      return QUANTITIES[i];
    }
  }
  return null;
}

// The codes at bytes[at], one for each row of `present`; null when the padding behind them is not zero.
function codesAt(bytes, at, present) {
  var codes = [];
  var position = at * 8;
  var i, left, code;
  for (i = 0; i < present.length; i += 1) {
    code = 0;
    for (left = present[i][2]; left > 0; left -= 1) {
      code = code * 2 + bitAt(bytes, position);
      position += 1;
    }
    codes.push(code);
  }
  for (; position % 8 !== 0; position += 1) {
    if (bitAt(bytes, position)) {
      return null;
    }
  }
  return codes;
}

function bitAt(bytes, position) {
  return (bytes[Math.floor(position / 8)] >> (7 - (position % 8))) & 1;
}

// The age of the reading in 0.25 s, from what stands behind it; 0 when that does not say.
function ageIn(rest) {
  var age = 0;
  var at = 0;
  var items, size;
  if ((rest[0] & 0xc0) !== 0x40 || !(2 + rest[1] <= rest.length)) {
    return age; // no extras, a format of a later time, or cut off
  }
  items = rest.slice(2, 2 + rest[1]);
  while (at < items.length) {
    size = items[at] === EARLIER ? earlierSize(items, at) : ITEM_SIZES[items[at]] || 0;
    if (size === 0 || at + size > items.length) {
      return age; // unknown or damaged: what was read before stands
    }
    if (items[at] === AGE) {
      age = numberAt(items, at + 1, 2);
    }
    at += size;
  }
  return age;
}

// Bytes of the block of earlier readings at items[at]; 0 when it is damaged.
function earlierSize(items, at) {
  var layout = layoutAt(items, at + 8);
  var next, count;
  if (layout.error || layout.start >= items.length) {
    return 0;
  }
  next = layout.start + 1;
  for (count = items[layout.start]; count > 0; count -= 1) {
    if (next + layout.end - layout.start > items.length || !codesAt(items, next, layout.present)) {
      return 0;
    }
    next += layout.end - layout.start + (count > 1 ? 2 : 0);
  }
  return next - at;
}

function numberAt(bytes, at, size) {
  return size === 2 ? bytes[at] * 256 + bytes[at + 1] : bytes[at];
}

function pushNumber(bytes, value, size) {
  if (size === 2) {
    bytes.push(Math.floor(value / 256));
  }
  bytes.push(value % 256);
}

function isWhole(value, lowest, highest) {
  return typeof value === "number" && value >= lowest && value <= highest && Math.floor(value) === value;
}

function shown(value) {
  return typeof value === "number" ? value : "(none)";
}

function success(output, warnings) {
  if (warnings.length) {
    output.warnings = warnings;
  }
  return output;
}

function refusal(sentence) {
  return { errors: [sentence] };
}
