// Segment's client for Node: PACKAGE URL BATCH.
const readline = require("readline");

const [, , name, host, batch] = process.argv;
const { Analytics } = require(name);

class Money {
  toJSON() {
    return "19.99 EUR";
  }
}

const native = {
  date: new Date(Date.UTC(2024, 1, 29, 12, 0, 0, 123)),
  undefined: undefined,
  function() {},
  nan: NaN,
  infinity: -Infinity,
  map: new Map([["a", 1]]),
  sparse: [1, , undefined, 3],
  toJSON: new Money(),
  zero: -0,
  unsafe: 2 ** 53 + 2,
  cut: "😀".slice(0, 1),
};

const client = new Analytics({
  writeKey: "key",
  host,
  flushAt: Number(batch),
  flushInterval: 200,
  maxRetries: 20,
});
client.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { type, ...call } = JSON.parse(line);
    if (call.event === "Native Values") call.properties = native;
    if (call.timestamp) call.timestamp = new Date(call.timestamp);
    client[type](call);
  }
  await client.closeAndFlush({ timeout: 60000 });
})();
