/** Responses that are made without a connection. */

import type { ServerState } from "../../http/context.ts"
import { toApiError } from "../../http/errors.ts"
import { standingOf } from "../../http/job.ts"
import { eventStream } from "../../http/stream.ts"
import { EventLog } from "./event-log.ts"
import { newId } from "./items.ts"
import { RESPONSE_EVENTS, Responding } from "./response-run.ts"
import type { ResponseBody, ResponseRequest } from "./schema.ts"

/** Answers at once, or streams what anybody may stop reading. The model is loaded and the request checked before. */
export const respondInBackground = (
  state: ServerState,
  body: ResponseRequest,
  request: Request,
): Promise<ResponseBody> | Promise<Response> =>
  body.stream ? streamed(state, body, request) : begin(state, body, request)

async function streamed(state: ServerState, body: ResponseRequest, request: Request): Promise<Response> {
  const log = new EventLog()
  await begin(state, body, request, log)
  return follow(log, state.pingMs)
}

/** Streams the events of what goes on without its readers. @param after Only those behind the one of this number. */
export function follow(log: EventLog, pingMs: number, after?: number): Promise<Response> {
  const controller = new AbortController()
  const held = new DisposableStack()
  return eventStream(log.follow(controller.signal, after), { controller, pingMs, format: RESPONSE_EVENTS, held })
}

/** @returns the response as it is now */
async function begin(
  state: ServerState,
  body: ResponseRequest,
  request: Request,
  log?: EventLog,
): Promise<ResponseBody> {
  using held = new DisposableStack()
  // Without the connection's signal: whoever asks may go.
  const { model, controller } = held.use(await state.models.lease(body.model))
  const standing = standingOf(body, request, state)
  const created = Math.floor(Date.now() / 1000)
  const head = { id: newId("resp"), created, model: model.name, controller, standing }
  const responding = await Responding.prepare(state.responses, model, head, body)
  const { running } = responding
  const queued = structuredClone(running.response)
  running.log = log
  running.ended = toEnd(responding, held.move())
  return queued
}

async function toEnd(responding: Responding, held: Disposable): Promise<void> {
  using _ = held
  // A failed generation is in the response; what is thrown is that it could not be stored, which is logged.
  await responding.inBackground().catch(toApiError)
}
