/** Requests to OpenAI's routes of a scripted server, whose fields are not those of the official client. */

import { expect } from "bun:test"
import { post } from "../../support/http.ts"
import { byteTokenizer, type ScriptedServer } from "./script-model.ts"

interface Message {
  role?: string
  refusal?: string | null
  content: string | null
}

/** An answer or a chunk of any of the routes. */
export interface Answer {
  id: string
  object: string
  system_fingerprint: string
  prompt_token_ids?: number[]
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number }
  choices: {
    text?: string
    message: Message
    delta?: Message
    finish_reason: string | null
    token_ids?: number[]
    prompt_token_ids?: number[]
    logprobs?: { content?: { token: string }[]; tokens?: string[] }
  }[]
}
type Choice = Answer["choices"][number]

export const choice = (answer: Answer | undefined): Choice => answer?.choices[0] ?? ({} as Choice)
/** The text of a completion, or of a chat's answer. */
export const shown = (answer: Answer) => choice(answer).text ?? choice(answer).message.content

const BODIES = {
  "chat/completions": { messages: [{ role: "user", content: "hi" }] },
  completions: { prompt: "hi" },
}
type Route = keyof typeof BODIES

/** Sends requests with these fields beside the prompt `hi` and a limit of 50 tokens. */
export function requester(server: ScriptedServer, route: Route = "chat/completions") {
  const send = (fields: object) =>
    post(`${server.url}/v1/${route}`, { model: "script", max_tokens: 50, ...BODIES[route], ...fields })
  return {
    route,
    /** An answer that has to be 200. */
    ask: async (fields: object): Promise<Answer> => {
      const response = await send(fields)
      const answer = (await response.json()) as Answer & { error?: unknown }
      expect([response.status, answer.error]).toEqual([200, undefined])
      return answer
    },
    /** The chunks of a streamed answer. */
    stream: async (fields: object): Promise<Answer[]> => {
      const response = await send({ ...fields, stream: true })
      expect(response.status).toBe(200)
      const lines = (await response.text()).split("\n").filter((line) => line.startsWith("data: {"))
      return lines.map((line) => JSON.parse(line.slice(6)) as Answer)
    },
    /** The error of an answer that has to be 400. */
    refusal: async (fields: object) => {
      const response = await send(fields)
      expect(response.status).toBe(400)
      return ((await response.json()) as { error: { param: string; code: string; message: string } }).error
    },
    /** What the engine was asked for last. */
    seen: () => server.engine.requests.at(-1),
    /** The last prompt. */
    prompt: () => byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true }),
  }
}
