/** Runs one request on its model, from the model's lease to the last byte of the answer. */

import type { Server } from "bun"
import type { LoadedModel } from "../../engine/types.ts"
import type { QueueInfo, RunContext } from "../chat/choices.ts"
import { leaseModel, type ServerState } from "./context.ts"
import { credentialOf } from "./keys.ts"
import { eventStream, type StreamFormat } from "./stream.ts"

/** What every body and event of one answer carries. */
export interface ResponseHead {
  readonly id: string
  /** Unix time in seconds. */
  readonly created: number
  readonly model: string
}

/** What a job works with, beside its model and its own request. */
export interface JobContext extends ResponseHead, RunContext {}

/** The HTTP request that a job answers. */
export interface Incoming {
  readonly request: Request
  readonly server: Server<unknown> | null
}

/** The parts of a request that are not its own API's alone. */
export interface JobOptions {
  /** Default: the first model. */
  readonly model: string | null | undefined
  /** The first part of the answer's id. */
  readonly idPrefix: string
  readonly stream?: boolean
  /** Smaller goes first. Default 0. */
  readonly priority?: number
  /** Prompts share cached beginnings only under the same salt. Default: none. */
  readonly cacheSalt?: string
}

/** One answer, ready to be made: one of the two methods is called, once. */
export interface Job<T> {
  readonly controller: AbortController
  readonly format: StreamFormat
  complete(): Promise<T>
  chunks(): AsyncGenerator<unknown>
}

/**
 * Answers a request as a whole or as a stream. The model is loaded if need be, and stays in memory until the answer, or the last event of
 * its stream, is made. A client that disconnects stops the job; no idle timeout does.
 * @param prepare What it throws is answered before any stream begins.
 */
export const runJob = <T>(
  state: ServerState,
  options: JobOptions,
  incoming: Incoming,
  prepare: (model: LoadedModel, context: JobContext) => Job<T> | Promise<Job<T>>,
): Promise<T> | Promise<Response> =>
  options.stream
    ? streamJob(state, options, incoming, prepare)
    : runWhole(state, options, incoming, async (model, context) => (await prepare(model, context)).complete())

/** As {@link runJob}, for an answer that is never streamed. */
export async function runWhole<T>(
  state: ServerState,
  options: JobOptions,
  incoming: Incoming,
  work: (model: LoadedModel, context: JobContext) => Promise<T>,
): Promise<T> {
  using held = new DisposableStack()
  const { model, context } = await begin(state, options, incoming, held)
  return await work(model, context)
}

async function streamJob(
  state: ServerState,
  options: JobOptions,
  incoming: Incoming,
  prepare: (model: LoadedModel, context: JobContext) => Job<unknown> | Promise<Job<unknown>>,
): Promise<Response> {
  using held = new DisposableStack()
  const { model, context } = await begin(state, options, incoming, held)
  const job = await prepare(model, context)
  const { controller, format } = job
  return await eventStream(job.chunks(), { controller, pingMs: state.pingMs, format, held: held.move() })
}

/** Leases the model. @param held Gets the lease. */
async function begin(
  state: ServerState,
  options: JobOptions,
  { request, server }: Incoming,
  held: DisposableStack,
): Promise<{ model: LoadedModel; context: JobContext }> {
  // A long prompt is silent for longer than any sensible idle timeout. The client's own disconnect ends the job.
  server?.timeout(request, 0)
  const { model, controller } = held.use(await leaseModel(state, options.model, request.signal))
  const context = {
    id: `${options.idPrefix}-${crypto.randomUUID().replaceAll("-", "")}`,
    created: Math.floor(Date.now() / 1000),
    model: model.name,
    controller,
    queue: queueInfo(options, request, state),
  }
  return { model, context }
}

/** A request's place in the engine's queue and cache. */
export function queueInfo(
  { priority, cacheSalt: salt = "" }: Pick<JobOptions, "priority" | "cacheSalt">,
  request: Request,
  { deadlineMs, cacheByKey }: ServerState,
): QueueInfo {
  const key = keyOf(request.headers)
  const cacheSalt = cacheByKey ? `${key ?? ""}/${salt}` : salt
  return {
    ...(priority !== undefined && { priority }),
    ...(cacheSalt !== "" && { cacheSalt }),
    ...(key !== undefined && { key }),
    ...(deadlineMs !== undefined && { deadlineMs }),
  }
}

/** Who a request belongs to: the hash of its API key, so that no key is stored or passed on. */
export function keyOf(headers: Headers): string | undefined {
  const token = credentialOf(headers)
  return token === undefined ? undefined : new Bun.CryptoHasher("sha256").update(token).digest("hex").slice(0, 32)
}
