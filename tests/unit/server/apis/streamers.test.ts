/** However an answer is cut into tokens, streaming gives the result of the whole text: characters, stop strings, reasoning, calls. */

import { expect, test } from "bun:test"
import fc from "fast-check"
import type { EngineEvent, GenerateRequest } from "../../../../src/engine/types.ts"
import { type ChatEvent, chatEvents, collectChat, prepareChat } from "../../../../src/server/chat/chat.ts"
import type { ChatRequest } from "../../../../src/server/chat/request.ts"
import { ChatTemplate } from "../../../../src/text/chat-template.ts"
import { BYTE_TO_CHAR } from "../../../../src/text/tokenizer/byte-map.ts"
import { tokenizerFromMetadata } from "../../../../src/text/tokenizer/tokenizer.ts"
import { toolSupport } from "../../../../src/text/tools/family.ts"
import { ToolCallSplitter } from "../../../../src/text/tools/splitter.ts"
import { scriptEngine, scriptModel } from "../../../server/support/script-model.ts"

const THINKING = new ChatTemplate("{{ messages[0].content.split('</think>')[-1] }}")
const PLAIN = new ChatTemplate("{{ messages[0].content }}")
const END = 256
const SILENT = 257

/** A model that generates these pieces, one token each, with a control token without text before each piece. */
function modelSaying(pieces: readonly Uint8Array[], template: ChatTemplate) {
  const words = [...new Set(pieces.map((piece) => Array.from(piece, (byte) => BYTE_TO_CHAR[byte]).join("")))]
  const longer = words.filter((word) => word.length > 1)
  const tokens = [...BYTE_TO_CHAR, "<|im_end|>", "<|silent|>", ...longer]
  const types = tokens.map((_, id) => (id === END || id === SILENT ? 3 : 1))
  const metadata = new Map<string, unknown>([
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.pre", "gpt-2"],
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.token_type", types],
    ["tokenizer.ggml.merges", []],
    ["tokenizer.ggml.eos_token_id", END],
  ])
  const tokenizer = tokenizerFromMetadata((key) => metadata.get(key))
  const idOf = (piece: Uint8Array) => tokenizer.idOf(Array.from(piece, (byte) => BYTE_TO_CHAR[byte]).join("")) ?? -1
  const script = [...pieces.flatMap((piece) => [SILENT, idOf(piece)]), END]
  const engine = scriptEngine({ tokens: script }, { nVocab: tokenizer.vocabSize, contextLength: 4096 })
  // Replaces the scripted engine's generator, which waits for timers.
  engine.generate = async function* (request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    const usage = { promptTokens: 1, completionTokens: script.length, cachedTokens: 0, prefillMs: 0, decodeMs: 0 }
    for (const token of script) {
      if (signal?.aborted) return yield { type: "end", index: 0, reason: "cancelled", usage }
      const scored = request.sampling.logprobs === undefined ? {} : { logprobs: { logprob: -1, top: [] } }
      yield { type: "token", index: 0, token, ...scored }
    }
    yield { type: "end", index: 0, reason: "stop", usage }
  }
  return { model: scriptModel(engine, "script", { tokenizer, chatTemplate: template }), script }
}

/**
 * The reference, computed from the whole answer.
 * @param trigger Begins calls, in which stop strings do not count.
 */
function reference(bytes: Uint8Array, stops: readonly string[], thinks: boolean, trigger?: string) {
  let text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)
  const close = thinks && /^\s*<think>/.test(text) ? text.indexOf("</think>") : 0
  const call = trigger === undefined || close < 0 ? -1 : text.indexOf(trigger, close)
  for (let end = 1; end <= (call < 0 ? text.length : call); end++) {
    const [found] = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)
    if (found === undefined) continue
    text = text.slice(0, end - found.length)
    break
  }
  const begun = thinks ? /^\s*<think>([\s\S]*)$/.exec(text)?.[1] : undefined
  if (begun === undefined) return { reasoning: "", content: text }
  const [thoughts = "", ...answer] = begun.split("</think>")
  return { reasoning: thoughts.trim(), content: answer.join("</think>").trimStart() }
}

const part = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom("<think>", "</think>", "<th", "ink>", "</", "END", "EN", "D", "\n", " ", "a"),
  },
  { weight: 2, arbitrary: fc.constantFrom("é", "東", "😀", "\u00a0", "\ufeff") },
)
/** Bytes of an answer, not always valid UTF-8, and the positions at which to cut them. */
const answer = fc
  .tuple(
    fc.constantFrom("", "<think>", "\n<think>"),
    fc.array(fc.oneof(part, fc.uint8Array({ maxLength: 2 })), { maxLength: 10 }),
  )
  .map(([start, parts]) =>
    Uint8Array.from([start, ...parts].flatMap((item) => [...(typeof item === "string" ? Buffer.from(item) : item)])),
  )
const cuts = fc.oneof(fc.constant("bytes" as const), fc.array(fc.nat(1000), { maxLength: 12 }))
const stop = fc.constantFrom<string[][]>(
  [],
  ["END"],
  ["D"],
  ["nk>"],
  ["<think>"],
  ["東", "a<"],
  ["END", "ND ", "\n\n", "é"],
)

function pieces(bytes: Uint8Array, where: "bytes" | number[]): Uint8Array[] {
  const at = where === "bytes" ? Array.from(bytes, (_, i) => i) : where.map((cut) => cut % (bytes.length + 1))
  const ends = [...new Set([...at, bytes.length])].sort((a, b) => a - b)
  return ends.map((end, i) => bytes.slice(ends[i - 1] ?? 0, end)).filter(({ length }) => length > 0)
}

const QUESTION = [{ role: "user" as const, content: "x" }]
const run = (id: string) => ({ id, controller: new AbortController(), queue: {} })

test("streamed = unstreamed = the reference", async () => {
  await fc.assert(
    fc.asyncProperty(answer, cuts, stop, fc.boolean(), fc.boolean(), async (bytes, where, stops, thinks, logprobs) => {
      const { model } = modelSaying(pieces(bytes, where), thinks ? THINKING : PLAIN)
      const request: ChatRequest = { messages: QUESTION, stop: stops, ...(logprobs && { logprobs: 0 }) }
      const expected = reference(bytes, stops, thinks)

      const { answers } = await collectChat(await prepareChat(model, run("a"), request))
      expect({ reasoning: answers[0]?.reasoning, content: answers[0]?.content }).toEqual(expected as never)

      const streamed = { reasoning: "", content: "" }
      const events: ChatEvent[] = []
      for await (const event of chatEvents(await prepareChat(model, run("b"), request))) {
        events.push(event)
        if (event.type === "content" || event.type === "reasoning") {
          streamed[event.type] += event.text
          expect(event.text.isWellFormed()).toBe(true)
        }
      }
      expect(streamed).toEqual(expected)
      expect(events.slice(-2).map(({ type }) => type)).toEqual(["finish", "usage"])
      // Reasoning never comes after content.
      const kinds = events.flatMap((event) => ("text" in event && event.text !== "" ? [event.type] : []))
      expect(kinds).toEqual([...kinds].sort((a, b) => Number(a === "content") - Number(b === "content")))
    }),
    { numRuns: 1500, seed: 9 },
  )
}, 60_000)

test("every generated token is scored once", async () => {
  await fc.assert(
    fc.asyncProperty(answer, cuts, fc.boolean(), async (bytes, where, thinks) => {
      const { model, script } = modelSaying(pieces(bytes, where), thinks ? THINKING : PLAIN)
      const request: ChatRequest = { messages: QUESTION, logprobs: 0 }
      const { answers } = await collectChat(await prepareChat(model, run("c"), request))
      expect(answers[0]?.scored.map(({ token }) => token)).toEqual(script.slice(0, -1))
    }),
    { numRuns: 300, seed: 10 },
  )
}, 60_000)

/** Templates of each family of calls, with and without reasoning. */
const CALLING = [
  "<tool_call>",
  "<tool_call> </think>",
  "[TOOL_CALLS]",
  "[TOOL_CALLS][ARGS] </think>",
  '<|start_header_id|>"parameters"',
].map((words) => new ChatTemplate(`{# tools ${words} #}x`))
const callParts = fc.constantFrom(
  "<tool_call>",
  "</tool_call>",
  "[TOOL_CALLS]",
  "[ARGS]",
  '{"name": "f", "arguments": ',
  '{"name": "f", "parameters": ',
  '{"é": "東", "b": [1, {}]}',
  "{}",
  "}",
  "</think>",
  "[",
  "]",
  ", ",
  "f",
  "\n",
  "END",
  "é",
)
const callAnswer = fc
  .tuple(fc.constantFrom("", "<think>"), fc.array(callParts, { maxLength: 10 }))
  .map(([start, parts]) => Uint8Array.from(Buffer.from(start + parts.join(""))))

test("calls: streamed = unstreamed = the reference", async () => {
  const tools = [{ name: "f" }]
  await fc.assert(
    fc.asyncProperty(
      callAnswer,
      cuts,
      fc.constantFrom(...CALLING),
      fc.boolean(),
      fc.boolean(),
      async (bytes, where, template, logprobs, stopEverywhere) => {
        const { model } = modelSaying(pieces(bytes, where), template)
        const fields = { stopEverywhere, ...(logprobs && { logprobs: 0 }) }
        const request: ChatRequest = { messages: QUESTION, tools, stop: ["END"], ...fields }
        const { format } = toolSupport(template)
        const trigger = stopEverywhere ? undefined : format.spelling.trigger
        const said = reference(bytes, ["END"], template.source().includes("</think>"), trigger)
        const splitter = new ToolCallSplitter(format, ["f"])
        const definition = { reasoning: said.reasoning, content: "", calls: [] as string[] }
        for (const piece of [...splitter.push(said.content), ...splitter.flush()])
          if (piece.type === "content") definition.content += piece.text
          else if (piece.type === "call") definition.calls.push("")
          else definition.calls.push(`${definition.calls.pop()}${piece.text}`)

        const { answers } = await collectChat(await prepareChat(model, run("d"), request))
        const [whole] = answers
        const calls = whole?.toolCalls ?? []
        expect({
          reasoning: whole?.reasoning,
          content: whole?.content,
          calls: calls.map((call) => call.arguments),
        } as object).toEqual(definition)
        expect(whole?.reason).toBe(splitter.called ? "tool_calls" : "stop")

        const streamed = { reasoning: "", content: "", calls: [] as string[] }
        for await (const event of chatEvents(await prepareChat(model, run("e"), request))) {
          if (event.type === "content" || event.type === "reasoning") streamed[event.type] += event.text
          else if (event.type === "tool_call") {
            expect(event.call).toBe(streamed.calls.length)
            streamed.calls.push("")
          } else if (event.type === "tool_arguments") {
            // A call ends when the next one begins.
            expect(event.call).toBe(streamed.calls.length - 1)
            streamed.calls.push(`${streamed.calls.pop()}${event.text}`)
          } else if (event.type === "finish") expect(event.reason).toBe(whole?.reason as never)
        }
        expect(streamed).toEqual(definition)
      },
    ),
    { numRuns: 1500, seed: 11 },
  )
}, 60_000)
