/** Responses that are generated without a connection. */

import { leaseModel } from "../../http/context.ts"
import { reportUnexpected } from "../../http/errors.ts"
import { queueInfo } from "../../http/job.ts"
import { eventStream } from "../../http/stream.ts"
import { EventLog } from "./event-log.ts"
import { newId } from "./items.ts"
import { jobOptions } from "./request.ts"
import { RESPONSE_EVENTS, ResponseRun } from "./response-run.ts"
import type { ResponsesState } from "./responses.ts"
import type { ResponseBody, ResponseRequest } from "./schema.ts"
import { snapshot } from "./writer.ts"

/** Loads the model, checks the request, and starts the generation. The answer is the queued response, or a stream of its events. */
export const respondInBackground = (
  state: ResponsesState,
  body: ResponseRequest,
  request: Request,
): Promise<ResponseBody> | Promise<Response> =>
  body.stream ? streamed(state, body, request) : begin(state, body, request)

async function streamed(state: ResponsesState, body: ResponseRequest, request: Request): Promise<Response> {
  const log = new EventLog()
  await begin(state, body, request, log)
  return follow(log, state.pingMs)
}

/** Streams the events of a response that goes on without its readers. @param after Only the events after this number. */
export function follow(log: EventLog, pingMs: number, after?: number): Promise<Response> {
  const controller = new AbortController()
  const held = new DisposableStack()
  return eventStream(log.follow(controller.signal, after), { controller, pingMs, format: RESPONSE_EVENTS, held })
}

/** Starts the generation. @returns the response as it is now */
async function begin(
  state: ResponsesState,
  body: ResponseRequest,
  request: Request,
  log?: EventLog,
): Promise<ResponseBody> {
  using held = new DisposableStack()
  // Without the connection's signal: the client may disconnect.
  const { model, controller } = held.use(await leaseModel(state, body.model))
  const queue = queueInfo(jobOptions(body), request, state)
  const created = Math.floor(Date.now() / 1000)
  const context = { id: newId("resp"), created, model: model.name, controller, queue }
  const run = await ResponseRun.prepare(state.responses, model, context, body)
  const { running } = run
  const queued = snapshot(running.response)
  running.log = log
  running.ended = finish(run, held.move())
  return queued
}

async function finish(run: ResponseRun, held: Disposable): Promise<void> {
  using _ = held
  // A failed generation is recorded in the response. What is thrown is a failure to store it.
  await run.inBackground().catch(reportUnexpected)
}
