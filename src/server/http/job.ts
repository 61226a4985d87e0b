import type { Server } from "bun"
import type { LoadedModel } from "../../engine/types.ts"
import type { Run, Standing } from "../chat/choices.ts"
import { leaseModel, type ServerState } from "./context.ts"
import { credentialOf } from "./keys.ts"
import { eventStream, type StreamFormat } from "./stream.ts"

/** What every response and event of one generation carries, and what stops it. */
export interface Head extends Run {
  /** Unix time in seconds. */
  readonly created: number
  readonly model: string
}

interface Begun {
  request: Request
  server: Server<unknown> | null
}

/** The fields of every generation's body that are answered for here. */
interface CommonBody {
  model: string
  stream?: boolean | null
  priority?: number | null
  cache_salt?: string | null
}

/** One generation, ready to run: either of the two is called, once. */
export interface Job<T> {
  readonly controller: AbortController
  /** How its stream is written; default: as OpenAI's completions are. */
  readonly format?: StreamFormat
  complete(): Promise<T>
  chunks(): AsyncGenerator<unknown>
}

/**
 * Runs a generation from its model's lease to its last byte. The model is loaded first where need be, and stays until the answer, or
 * the last event of its stream, is made; a client that goes away stops it, and no idle timeout does.
 * @param prepare Turns the body into a job; what it throws is answered before any stream begins.
 */
export function runJob<T>(
  state: ServerState,
  prefix: string,
  body: CommonBody,
  { request, server }: Begun,
  prepare: (model: LoadedModel, head: Head) => Job<T> | Promise<Job<T>>,
): Promise<T> | Promise<Response> {
  // A long prompt is silent for longer than any sensible idle timeout; the client's own disconnect is what ends it.
  server?.timeout(request, 0)
  const start = async (held: DisposableStack) => {
    const { model, controller } = held.use(await leaseModel(state, body.model, request.signal))
    return await prepare(model, {
      id: `${prefix}-${crypto.randomUUID().replaceAll("-", "")}`,
      created: Math.floor(Date.now() / 1000),
      model: model.name,
      controller,
      standing: standingOf(body, request, state),
    })
  }
  return body.stream ? stream(start, state.pingMs) : complete(start)
}

type Start<T> = (held: DisposableStack) => Promise<Job<T>>

async function complete<T>(start: Start<T>): Promise<T> {
  using held = new DisposableStack()
  return await (await start(held)).complete()
}

async function stream(start: Start<unknown>, pingMs: number): Promise<Response> {
  using held = new DisposableStack()
  const job = await start(held)
  const { controller, format } = job
  return await eventStream(job.chunks(), { controller, pingMs, format, held: held.move() })
}

/** What a request brings to the engine beside its body. */
export function standingOf(body: CommonBody, request: Request, { deadlineMs, cacheByKey }: ServerState): Standing {
  const key = keyOf(request.headers)
  const salt = body.cache_salt ?? ""
  const cacheSalt = cacheByKey ? `${key ?? ""}/${salt}` : salt
  return {
    ...(typeof body.priority === "number" && { priority: body.priority }),
    ...(cacheSalt !== "" && { cacheSalt }),
    ...(key !== undefined && { key }),
    ...(deadlineMs !== undefined && { deadlineMs: deadlineMs }),
  }
}

/** Whom a request belongs to: the hash of the API key that it shows, so that no key is kept or travels on. */
export function keyOf(headers: Headers): string | undefined {
  const token = credentialOf(headers)
  return token === undefined ? undefined : new Bun.CryptoHasher("sha256").update(token).digest("hex").slice(0, 32)
}
