/** Compile-time check: the types of the server's answers are those that the official client declares. */

import type OpenAI from "openai"
import type { StoredItem } from "../../../src/server/apis/responses/items-schema.ts"
import type { ResponseBody, ResponseEvent } from "../../../src/server/apis/responses/schema.ts"

/** The client itself adds `output_text`. */
export const response = (body: ResponseBody): Omit<OpenAI.Responses.Response, "output_text"> => body
export const item = (body: StoredItem): OpenAI.Responses.ResponseItem => body
type Bare<Event> = Event extends { response: unknown } ? Omit<Event, "response"> : Event
export const event = (body: Bare<ResponseEvent>): Bare<OpenAI.Responses.ResponseStreamEvent> => body
