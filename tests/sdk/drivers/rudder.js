// RudderStack's client for Node: PACKAGE URL BATCH.
const readline = require("readline");

const [, , name, dataPlaneUrl, batch] = process.argv;
const Analytics = require(name);

const native = {
  date: new Date(Date.UTC(2024, 1, 29, 12, 0, 0, 123)),
  undefined: undefined,
  nan: NaN,
  infinity: -Infinity,
  sparse: [1, , undefined, 3],
  zero: -0,
  unsafe: 2 ** 53 + 2,
  cut: "😀".slice(0, 1),
};

// An answer that was cut off behind its 200: the events were taken, and the client does
// not send them again, but it calls that an error.
const isTaken = (error) => error.response?.status === 200;

// Without an errorHandler a batch that fails ends the process: an unhandled rejection.
const client = new Analytics("key", {
  dataPlaneUrl,
  flushAt: Number(batch),
  flushInterval: 200,
  retryCount: 20,
  logLevel: "silent",
  errorHandler(error) {
    if (isTaken(error)) return;
    console.error(String(error));
    process.exitCode = 1;
  },
});

(async () => {
  const taken = [];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { type, ...call } = JSON.parse(line);
    if (call.event === "Native Values") call.properties = native;
    if (call.timestamp) call.timestamp = new Date(call.timestamp);
    taken.push(new Promise((resolve) => client[type](call, resolve)));
  }
  const errors = (await Promise.all(taken)).filter((error) => error && !isTaken(error));
  if (errors.length) process.exitCode = 1;
})();
