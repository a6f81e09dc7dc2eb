// The peers of the webhook benchmark: dispatchers on BullMQ, in two makes.
//   nest    NestJS, axios, mongoose: one log insert and one status update an attempt
//   undici  no framework, undici, the plain driver: inserts and updates in batches
// Usage: node webhooks.mjs load|nest|undici SOCKET JOBS CONCURRENCY
// Environment: MONGO, DATABASE, SINK (http://host:port), BODY_BYTES, WEBHOOKS.
import "reflect-metadata";
import { createHmac, randomBytes } from "node:crypto";
import http from "node:http";
import IORedis from "ioredis";
import { Queue, Worker } from "bullmq";
import mongoose from "mongoose";

const [verb, socket, jobs, concurrency] = process.argv.slice(2);
const { MONGO, DATABASE, SINK, BODY_BYTES, WEBHOOKS } = process.env;
const total = Number(jobs);
const connection = new IORedis(socket, { maxRetriesPerRequest: null });
const name = "webhooks";
const { ObjectId } = mongoose.Types;

await mongoose.connect(MONGO, { dbName: DATABASE, autoIndex: false, maxPoolSize: 50 });
const db = mongoose.connection.db;

const companies = [new ObjectId("6b0463ff2132ffe8cf120772"), new ObjectId("6b0463ff2132ffe8cf120773")];
const subscriptions = new Map(
  Array.from({ length: Number(WEBHOOKS) }, (_, n) => {
    const id = new ObjectId(String(n).padStart(24, "a"));
    const secret = `whsec_${Buffer.alloc(32, n).toString("base64")}`;
    return [String(id), { id, companyId: companies[n % 2], url: `${SINK}/hook/${n}`, secret }];
  }),
);

async function load() {
  const queue = new Queue(name, { connection });
  await queue.obliterate({ force: true });
  for (const collection of ["peer_deliveries", "peer_attempts"]) {
    await db.collection(collection).drop().catch(() => {});
    await db.collection(collection).createIndex({ companyId: 1, webhookId: 1, createdAt: -1 });
  }
  const all = [...subscriptions.values()];
  const text = "y".repeat(Number(BODY_BYTES));
  for (let done = 0; done < total; done += 1000) {
    const rows = Array.from({ length: Math.min(1000, total - done) }, (_, n) => {
      const webhook = all[(done + n) % all.length];
      const id = new ObjectId();
      const event = { id: `evt_${randomBytes(13).toString("hex")}`, event: "task.created", data: { text } };
      return { id, webhook, body: JSON.stringify(event), eventId: event.id };
    });
    await db.collection("peer_deliveries").insertMany(
      rows.map(({ id, webhook, eventId }) => ({
        _id: id, companyId: webhook.companyId, webhookId: webhook.id, eventId,
        status: "pending", attempts: 0, createdAt: new Date(),
      })),
    );
    await queue.addBulk(
      rows.map(({ id, webhook, body, eventId }) => ({
        name: "deliver",
        data: { deliveryId: String(id), webhookId: String(webhook.id), eventId, body },
      })),
    );
  }
  await queue.close();
}

const options = {
  connection,
  concurrency: Number(concurrency),
  removeOnComplete: { count: total * 2 },
};

// Ends the race when all are completed and written.
function finishLine(flush = async () => {}) {
  const started = process.hrtime.bigint();
  const before = process.cpuUsage(); // the start of Node.js does not count, as Python's does not
  let completed = 0;
  let resolve;
  const over = new Promise((done) => { resolve = done; });
  const tick = async () => {
    completed += 1;
    if (completed !== total) return;
    await flush();
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    const usage = process.cpuUsage(before);
    console.log(JSON.stringify({ seconds, cpuSeconds: (usage.user + usage.system) / 1e6 }));
    resolve();
  };
  return { tick, over };
}

function headersOf({ webhookId, deliveryId, eventId, body }) {
  const signature = createHmac("sha256", subscriptions.get(webhookId).secret).update(body).digest("hex");
  return {
    "content-type": "application/json",
    "x-novapulse-signature": `sha256=${signature}`,
    "x-novapulse-event": "task.created",
    "x-novapulse-webhook-id": webhookId,
    "x-novapulse-delivery": deliveryId,
    "webhook-id": eventId,
  };
}

async function nest() {
  const { Logger, Module } = await import("@nestjs/common");
  const { NestFactory } = await import("@nestjs/core");
  const { default: axios } = await import("axios");
  const line = finishLine();
  const schema = (fields) => new mongoose.Schema(fields, { versionKey: false });
  const Deliveries = mongoose.model("delivery", schema({
    companyId: "ObjectId", webhookId: "ObjectId", eventId: String,
    status: String, attempts: Number, responseStatus: Number, updatedAt: Date, createdAt: Date,
  }), "peer_deliveries");
  const Attempts = mongoose.model("attempt", schema({
    companyId: "ObjectId", webhookId: "ObjectId", deliveryId: "ObjectId", eventId: String, event: String,
    attempt: Number, success: Boolean, status: Number, duration: Number, headers: Object, body: String,
    createdAt: Date,
  }), "peer_attempts");
  const client = axios.create({
    httpAgent: new http.Agent({ keepAlive: true, maxSockets: Infinity }),
    timeout: 15000, maxRedirects: 0, responseType: "text", maxContentLength: 16384,
    validateStatus: () => true,
  });

  class WebhookDispatcher {
    async dispatch(job) {
      const { webhookId, deliveryId, eventId, body } = job.data;
      const webhook = subscriptions.get(webhookId);
      const started = Date.now();
      const answer = await client.post(webhook.url, body, { headers: headersOf(job.data) });
      const success = answer.status >= 200 && answer.status < 300;
      await Attempts.create({
        companyId: webhook.companyId, webhookId, deliveryId, eventId, event: "task.created",
        attempt: job.attemptsMade + 1, success, status: answer.status, duration: Date.now() - started,
        headers: { ...answer.headers }, body: answer.data, createdAt: new Date(),
      });
      await Deliveries.updateOne(
        { _id: deliveryId },
        { status: success ? "delivered" : "failed", attempts: job.attemptsMade + 1,
          responseStatus: answer.status, updatedAt: new Date() },
      );
      if (!success) throw new Error(`answered ${answer.status}`);
    }
    onModuleInit() {
      this.worker = new Worker(name, (job) => this.dispatch(job), options);
      this.worker.on("completed", line.tick);
    }
    onModuleDestroy() {
      return this.worker.close();
    }
  }
  class DispatcherModule {}
  Module({ providers: [WebhookDispatcher] })(DispatcherModule);
  const app = await NestFactory.createApplicationContext(DispatcherModule, { logger: false });
  Logger.overrideLogger(false);
  await line.over;
  await app.close();
}

// Rows gather for at most 25 ms or 500 of them; who adds waits for its batch.
class Batches {
  constructor(write) {
    this.write = write;
    this.waiting = [];
    this.timer = null;
  }
  add(row) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ row, resolve, reject });
      if (this.waiting.length >= 500) this.flush();
      else this.timer ??= setTimeout(() => this.flush(), 25);
    });
  }
  async flush() {
    clearTimeout(this.timer);
    this.timer = null;
    const batch = this.waiting.splice(0);
    if (!batch.length) return;
    try {
      await this.write(batch.map(({ row }) => row));
      for (const { resolve } of batch) resolve();
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}

async function undici() {
  const { Agent, request } = await import("undici");
  const dispatcher = new Agent({ connections: 100, keepAliveTimeout: 4000, pipelining: 1 });
  const attempts = db.collection("peer_attempts");
  const deliveries = db.collection("peer_deliveries");
  const batches = new Batches(async (rows) => {
    await attempts.insertMany(rows.map(({ attempt }) => attempt), { ordered: false });
    await deliveries.bulkWrite(rows.map(({ update }) => update), { ordered: false });
  });
  const line = finishLine();
  const dispatch = async (job) => {
    const { webhookId, deliveryId, eventId, body } = job.data;
    const webhook = subscriptions.get(webhookId);
    const started = Date.now();
    const answer = await request(webhook.url, {
      method: "POST", headers: headersOf(job.data), body, dispatcher, headersTimeout: 15000, bodyTimeout: 15000,
    });
    const text = await answer.body.text();
    const success = answer.statusCode >= 200 && answer.statusCode < 300;
    const id = new ObjectId(deliveryId);
    await batches.add({
      attempt: {
        companyId: webhook.companyId, webhookId: webhook.id, deliveryId: id, eventId, event: "task.created",
        attempt: job.attemptsMade + 1, success, status: answer.statusCode, duration: Date.now() - started,
        headers: answer.headers, body: text, createdAt: new Date(),
      },
      update: {
        updateOne: {
          filter: { _id: id },
          update: { $set: { status: success ? "delivered" : "failed", attempts: job.attemptsMade + 1,
            responseStatus: answer.statusCode, updatedAt: new Date() } },
        },
      },
    });
    if (!success) throw new Error(`answered ${answer.statusCode}`);
  };
  const worker = new Worker(name, dispatch, options);
  worker.on("completed", line.tick);
  await line.over;
  await worker.close();
  await dispatcher.close();
}

await { load, nest, undici }[verb]();
await mongoose.disconnect();
connection.disconnect();
