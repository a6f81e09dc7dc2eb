// The peer of the API benchmark: NestJS on Fastify, tuned, doing what our GET and POST /tasks do.
// Environment: PORT, MONGO, REDIS, DATABASE, JWT_SECRET. Prints "ready" when it listens.
import "reflect-metadata";
import { createSecretKey, randomBytes } from "node:crypto";
import { Controller, Get, Post, Req, Res, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { FastifyAdapter } from "@nestjs/platform-fastify";
import { Queue } from "bullmq";
import IORedis from "ioredis";
import jwt from "jsonwebtoken";
import mongoose from "mongoose";
import pino from "pino";
import prom from "prom-client";

const { PORT, MONGO, REDIS, DATABASE, JWT_SECRET } = process.env;
const key = createSecretKey(Buffer.from(JWT_SECRET));
const log = pino({ base: null }, pino.destination({ dest: 2, sync: false, minLength: 4096 }));
const redis = new IORedis(REDIS, { enableAutoPipelining: true, maxRetriesPerRequest: null });
await mongoose.connect(MONGO, { dbName: DATABASE, autoIndex: false, maxPoolSize: 50 });
// Ids are texts, as ours are: by default mongoose looks for an ObjectId and finds nothing.
const loose = new mongoose.Schema({ _id: String }, { strict: false, versionKey: false });
const Tasks = mongoose.model("task", loose, "peer_tasks");
const Sessions = mongoose.model("session", loose, "peer_sessions");
const queue = new Queue("peer", { connection: new IORedis(REDIS, { maxRetriesPerRequest: null }) });

redis.defineCommand("slide", {
  numberOfKeys: 1,
  lua: `local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local index = math.floor(now / window)
local into = now - index * window
local row = redis.call('HMGET', KEYS[1], 'i', 'c', 'p')
local seen, current, previous = tonumber(row[1]), tonumber(row[2]) or 0, tonumber(row[3]) or 0
if seen ~= index then previous = (seen == index - 1) and current or 0 current = 0 end
local used = current + previous * (window - into) / window
local allowed = 0
if used + 1 <= limit then allowed = 1 current = current + 1 used = used + 1 end
redis.call('HSET', KEYS[1], 'i', index, 'c', current, 'p', previous)
redis.call('PEXPIRE', KEYS[1], 2 * window)
return {allowed, math.max(0, math.floor(limit - used)), window - into}`,
});

const seconds = new prom.Histogram({
  name: "http_request_duration_seconds",
  help: "time",
  labelNames: ["method", "route", "status_code"],
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
});
const requests = new prom.Counter({
  name: "http_requests_total",
  help: "requests",
  labelNames: ["method", "route", "status_code"],
});
const cache = new Map();

async function enter(request, reply) {
  const claims = jwt.verify(request.headers.authorization.slice(7), key, { algorithms: ["HS256"] });
  const seen = cache.get(claims.sid);
  if (!seen || Date.now() - seen > 5000) {
    if (!(await Sessions.findById(claims.sid).lean())) throw new Error("no session");
    cache.set(claims.sid, Date.now());
  }
  const bucket = `throttle:${claims.cid}:${request.ip}:tasks`;
  const [allowed, left, reset] = await redis.slide(bucket, 100000000, 60000);
  if (!allowed) throw new Error("limited");
  reply.header("ratelimit", `"default";r=${left};t=${Math.ceil(reset / 1000)}`);
  return claims;
}

function leave(request, reply, started, status) {
  const took = Number(process.hrtime.bigint() - started) / 1e9;
  const labels = [request.method, "/api/v1/tasks", String(status)];
  seconds.labels(...labels).observe(took);
  requests.labels(...labels).inc();
  log.info({ method: labels[0], route: labels[1], status, seconds: took, requestId: request.id });
  reply.header("x-request-id", request.id).status(status);
}

class TasksController {
  async list(request, reply) {
    const started = process.hrtime.bigint();
    const claims = await enter(request, reply);
    const limit = Number(request.query.limit);
    const rows = await Tasks.find({ companyId: claims.cid })
      .sort({ createdAt: -1, _id: -1 }).limit(limit + 1).lean();
    const data = rows.slice(0, limit).map(({ _id, companyId, ...task }) => ({ id: _id, ...task }));
    leave(request, reply, started, 200);
    reply.send({ data, page: { nextCursor: rows.length > limit ? "x" : null, limit } });
  }
  async create(request, reply) {
    const started = process.hrtime.bigint();
    const claims = await enter(request, reply);
    const now = new Date();
    const _id = randomBytes(12).toString("hex");
    const task = { _id, companyId: claims.cid, description: null, projectId: null, assigneeId: null,
      dueAt: null, completedAt: null, ...request.body, status: "todo", priority: "medium",
      labels: [], createdBy: claims.sub, createdAt: now, updatedAt: now, version: 1 };
    await Tasks.collection.insertOne(task, { writeConcern: { w: "majority", j: true } });
    await queue.add("deliver", { taskId: _id });
    leave(request, reply, started, 201);
    reply.send({ id: _id, ...task });
  }
}
// What decorators would do, in plain JavaScript.
for (const [name, verb] of [["list", Get], ["create", Post]]) {
  Req()(TasksController.prototype, name, 0);
  Res()(TasksController.prototype, name, 1);
  const descriptor = Object.getOwnPropertyDescriptor(TasksController.prototype, name);
  verb("tasks")(TasksController.prototype, name, descriptor);
}
Controller("api/v1")(TasksController);
class App {}
Module({ controllers: [TasksController] })(App);

const adapter = new FastifyAdapter({ genReqId: () => randomBytes(16).toString("hex"), logger: false });
const app = await NestFactory.create(App, adapter, { logger: false });
await app.listen(Number(PORT), "127.0.0.1");
console.log("ready");
