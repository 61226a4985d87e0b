/** What Ollama's clients send that has no effect here, and prompts that do not fit. */

import { describe, expect, test } from "bun:test"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { ollamaOf } from "./support/clients.ts"
import { curl, refusal } from "./support/ollama-requests.ts"
import { byteTokenizer, type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const request = { model: "script", messages: [{ role: "user", content: "hi" }] }

/** Shows roles, contents and calls. */
const MARKED =
  "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %};{% endfor %}"

/** The prompt of the engine's last request, as text. */
const promptOf = ({ engine }: ScriptedServer) =>
  byteTokenizer.decode(engine.requests.at(-1)?.tokens ?? [], { special: true })

describe("what other engines' clients send", () => {
  test("has no effect where it tunes another engine, and is counted", async () => {
    await using server = await serveScript({ tokens: saying("ok") })
    const options = { num_gpu: 99, num_thread: 8, num_ctx: 131072, mirostat: null, low_vram: true, tfs_z: 1, odd: 1 }
    const response = await curl(`${server.url}/api/chat`, {
      ...request,
      options,
      shift: true,
      nonsense: 1,
      stream: false,
    })
    expect([response.status, (await response.json()).message.content]).toEqual([200, "ok"])
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    for (const field of ["options.num_gpu", "options.num_thread", "options.low_vram", "options.tfs_z", "shift"])
      expect(metrics).toContain(`rocmforge_ignored_fields_total{field="${field}"} 1`)
    expect(metrics).toContain('rocmforge_ignored_fields_total{field="unknown"} 2')
    await using strict = await serveScript({ tokens: saying("ok") }, { strict: true })
    expect(await refusal(strict.url, "/api/chat", { ...request, nonsense: 1 })).toEqual([
      400,
      "Unknown field 'nonsense'.",
    ])
  })

  test("includes messages without content, calls as text, and results with a name", async () => {
    await using server = await serveScript({ tokens: saying("ok") }, {}, {}, { chatTemplate: new ChatTemplate(MARKED) })
    const call = { function: { name: "f", arguments: '{"x":1}' }, type: "function" }
    const history = [
      { role: "user" },
      { role: "assistant", tool_calls: [call] },
      { role: "tool", name: "f", content: "1" },
    ]
    const response = await curl(`${server.url}/api/chat`, { model: "script", messages: history, stream: false })
    expect(response.status).toBe(200)
    expect(promptOf(server)).toMatch(/^<user>;<assistant>.*"x": ?1.*<tool_response>\n1\n.*;$/s)
  })

  test("a prompt that does not fit loses its oldest turns, then the beginning of its last", async () => {
    await using server = await serveScript({ tokens: saying("ok") }, {}, {}, { chatTemplate: new ChatTemplate(MARKED) })
    const say = (role: string, content: string) => ({ role, content })
    const history = [
      say("system", "S"),
      say("user", "a".repeat(40)),
      say("assistant", "b".repeat(40)),
      say("user", "end"),
    ]
    const ask = (fields: object) =>
      curl(`${server.url}/api/chat`, { model: "script", messages: history, stream: false, ...fields })
    expect((await ask({ options: { num_ctx: 60 } })).status).toBe(200)
    expect(promptOf(server)).toBe("<system>S;<user>end;")
    expect((await ask({ messages: [say("user", "0123456789".repeat(30))], options: { num_ctx: 40 } })).status).toBe(200)
    expect(promptOf(server)).toMatch(/^<user>\d{20,30}9;$/)
    const refused = await ask({ options: { num_ctx: 60 }, truncate: false })
    expect([refused.status, (await refused.json()).error]).toEqual([400, expect.stringContaining("num_ctx' holds 60")])
    const prompt = "abcdefghij".repeat(10)
    const raw = { model: "script", prompt, raw: true, stream: false, options: { num_ctx: 40, num_keep: 3 } }
    expect((await curl(`${server.url}/api/generate`, raw)).status).toBe(200)
    expect(promptOf(server)).toBe(`abc${prompt.slice(-32)}`)
  })

  test("a template of one request stands for the model's, if it is a text with the two places", async () => {
    await using server = await serveScript({ tokens: saying("ok") }, {}, {}, { chatTemplate: new ChatTemplate(MARKED) })
    await ollamaOf(server.url).generate({
      model: "script",
      system: "Be brief.",
      prompt: "hi",
      template: "[{{ .System }}]\n  {{- .Prompt -}}\n!{{ .Response }}",
    })
    expect(promptOf(server)).toBe("[Be brief.]hi!")
  })
})
