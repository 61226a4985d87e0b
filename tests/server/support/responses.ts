/** Requests, events and a chat template for the tests of `/v1/responses`. */

import { expect } from "bun:test"
import { ChatTemplate } from "../../../src/text/chat-template.ts"
import { type ScriptedServer, saying, serveScript } from "./script-model.ts"

export const ask = { model: "script", input: "hi" }

export const call = (url: string, path: string, method = "GET", body?: object) =>
  fetch(`${url}/v1/responses${path}`, {
    method,
    headers: { authorization: "Bearer none", ...(body && { "content-type": "application/json" }) },
    ...(body && { body: JSON.stringify(body) }),
  })

/** The stream's events. Checks that each event's SSE name is its type, and that the sequence numbers have no gaps. */
export const events = (text: string) =>
  text
    .split("\n\n")
    .filter((part) => part !== "" && !part.startsWith(":"))
    .map((part, i) => {
      const [, name, data] = /^event: ([\w.]+)\ndata: (.*)$/s.exec(part) ?? []
      const event = JSON.parse(data ?? "null")
      expect([event.type, event.sequence_number]).toEqual([name, i])
      return event
    })

/** A template that writes every message with its role and reasoning. */
export const OPEN_TEMPLATE = new ChatTemplate(
  "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}" +
    "{{ (m.content or '').split('</think>')[-1] }};{% endfor %}" +
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}",
)
export const open = (
  says: string,
  options: Parameters<typeof serveScript>[1] = {},
  script: object = {},
  limits: Parameters<typeof serveScript>[2] = {},
) => serveScript({ tokens: saying(says), ...script }, options, limits, { chatTemplate: OPEN_TEMPLATE })
/** The prompt of the newest request. */
export const prompt = ({ model, engine }: ScriptedServer) =>
  model.tokenizer.decode(engine.requests.at(-1)?.tokens ?? [])
