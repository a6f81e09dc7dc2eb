// The peer: BullMQ with one worker process. Usage: node bullmq.mjs load|work SOCKET JOBS CONCURRENCY
import IORedis from "ioredis";
import { Queue, Worker } from "bullmq";

const [verb, socket, jobs, concurrency] = process.argv.slice(2);
const total = Number(jobs);
const connection = new IORedis(socket, { maxRetriesPerRequest: null });
const name = "bench";

if (verb === "load") {
  const queue = new Queue(name, { connection });
  await queue.obliterate({ force: true });
  const payload = { x: "y".repeat(200) };
  for (let done = 0; done < total; done += 1000) {
    const batch = Math.min(1000, total - done);
    await queue.addBulk(Array.from({ length: batch }, () => ({ name: "noop", data: payload })));
  }
  await queue.close();
} else {
  const started = process.hrtime.bigint();
  const before = process.cpuUsage(); // the start of Node.js does not count, as Python's does not
  let completed = 0;
  await new Promise((resolve) => {
    const worker = new Worker(name, async () => {}, {
      connection,
      concurrency: Number(concurrency),
      removeOnComplete: { count: 1000 },
    });
    worker.on("completed", async () => {
      completed += 1;
      if (completed === total) {
        const seconds = Number(process.hrtime.bigint() - started) / 1e9;
        const usage = process.cpuUsage(before);
        console.log(JSON.stringify({ seconds, cpuSeconds: (usage.user + usage.system) / 1e6 }));
        await worker.close();
        resolve();
      }
    });
  });
}
connection.disconnect();
