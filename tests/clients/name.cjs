// Stands for the line in a hosts file, in every process of a tool; every other name is unknown, so
// that nothing of a test depends on the world outside.
const dns = require("node:dns");
const { lookup } = dns;
dns.lookup = (name, ...rest) =>
  lookup(name === "gateway.doorward.test" ? "127.0.0.1" : "unknown.invalid", ...rest);
