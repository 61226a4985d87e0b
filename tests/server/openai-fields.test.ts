/** Fields of vLLM and llama-server about sampling, limits and what an answer reports, and hints that have no effect. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { choice, requester, shown } from "./support/openai-requests.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const TEXT = "hello world"
const NONE = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }
let server: ScriptedServer
beforeAll(async () => {
  server = await serveScript({ tokens: saying(TEXT) })
})
afterAll(() => server[Symbol.asyncDispose]())

const chat = () => requester(server)

describe.each(["chat/completions", "completions"] as const)("%s", (route) => {
  let to: ReturnType<typeof requester>
  beforeAll(() => {
    to = requester(server, route)
  })

  test.each([
    [
      { temperature: 2.5, top_p: 0, typical_p: 0.9 },
      { temperature: 2.5, topP: 0, typicalP: 0.9 },
    ],
    [
      { frequency_penalty: 2.5, presence_penalty: -3 },
      { frequencyPenalty: 2.5, presencePenalty: -3 },
    ],
    [
      { top_n_sigma: 1.5, xtc_probability: 0.5, xtc_threshold: 0.2, min_keep: 3 },
      { topNSigma: 1.5, xtcProbability: 0.5, xtcThreshold: 0.2, minKeep: 3 },
    ],
    [
      { repeat_penalty: 1.3, repeat_last_n: 9 },
      { repetitionPenalty: 1.3, repeatLastN: 9 },
    ],
    [{ repetition_penalty: 1.2, repeat_penalty: 1.3 }, { repetitionPenalty: 1.2 }],
    [
      {
        dry_multiplier: 0.8,
        dry_base: 1.5,
        dry_allowed_length: 4,
        dry_penalty_last_n: 7,
        dry_sequence_breakers: ["x"],
      },
      { dryMultiplier: 0.8, dryBase: 1.5, dryAllowedLength: 4, dryPenaltyLastN: 7 },
    ],
    [
      { mirostat: 2, mirostat_tau: 4, mirostat_eta: 0.2 },
      { mirostat: 2, mirostatTau: 4, mirostatEta: 0.2 },
    ],
    [
      { dynatemp_range: 0.5, dynatemp_exponent: 2 },
      { dynatempRange: 0.5, dynatempExponent: 2 },
    ],
    [
      { top_k: 5, top_p: 0.5, samplers: ["top_k", "temperature"] },
      { topK: 5, topP: 1, temperatureLast: true },
    ],
    [
      { top_k: 5, min_p: 0.5, samplers: "tk" },
      { topK: 5, minP: 0, temperatureLast: false },
    ],
    [{ seed: 2 ** 63 }, { seed: 2n ** 63n }],
    [{ seed: -2 }, { seed: 2n ** 64n - 2n }],
    [{ allowed_token_ids: [1, 2] }, { allowedTokens: new Set([1, 2]) }],
    [{ bad_words: ["x"] }, { badWords: [[120], [32, 120]] }],
    [
      { logit_bias: { 50: -100.5, 51: 7 } },
      {
        logitBias: new Map([
          [50, -100.5],
          [51, 7],
        ]),
      },
    ],
    [
      { logit_bias: { hi: 3 } },
      {
        logitBias: new Map([
          [104, 3],
          [105, 3],
        ]),
      },
    ],
    [
      {
        logit_bias: [
          [50, 1],
          ["h", -2],
          [51, false],
        ],
      },
      {
        logitBias: new Map([
          [50, 1],
          [51, Number.NEGATIVE_INFINITY],
          [104, -2],
        ]),
      },
    ],
  ])("%j", async (fields, sampling) => {
    await to.ask(fields)
    expect(to.seen()?.sampling).toMatchObject(sampling as object)
  })

  test("seed -1 is random", async () => {
    await to.ask({ seed: -1 })
    const first = to.seen()?.sampling.seed
    await to.ask({ seed: -1 })
    expect(to.seen()?.sampling.seed).not.toBe(first as bigint)
  })

  test("limits of tokens", async () => {
    const { limits } = server.engine
    await to.ask({ max_tokens: null, n_predict: 3 })
    expect(to.seen()?.maxTokens).toBe(3)
    await to.ask({ max_tokens: -1 })
    expect(to.seen()?.maxTokens).toBe(limits.contextLength - (to.seen()?.tokens.length ?? 0))
    await to.ask({ max_tokens: 5, n_predict: 3 })
    expect(to.seen()?.maxTokens).toBe(5)
  })

  test("a prompt is cut to its last tokens", async () => {
    const long = "x".repeat(2 * server.engine.limits.contextLength)
    const prompt = { prompt: `${long}end`, messages: [{ role: "user", content: `${long}end` }] }
    await to.ask({ ...prompt, truncate_prompt_tokens: 3 })
    expect(to.prompt()).toBe("end")
    await to.ask({ ...prompt, truncate_prompt_tokens: -1, max_tokens: 24 })
    expect(to.seen()?.tokens.length).toBe(server.engine.limits.contextLength - 24)
  })

  test("cache_prompt false finds nothing in the cache", async () => {
    await to.ask({ cache_prompt: true, cache_salt: "salt" })
    expect(to.seen()?.cacheSalt).toBe("salt")
    await to.ask({ cache_prompt: false })
    const salt = to.seen()?.cacheSalt
    expect(salt?.length).toBeGreaterThan(20)
    await to.ask({ cache_prompt: false })
    expect(to.seen()?.cacheSalt).not.toBe(salt as string)
  })

  test("stop tokens, and what ends the text as a part of it", async () => {
    expect(shown(await to.ask({ stop_token_ids: [32] }))).toBe("hello")
    expect(to.seen()?.stopTokenIds).toEqual(new Set([32]))
    expect(shown(await to.ask({ stop: ["", "wo"] }))).toBe("hello ")
    expect(shown(await to.ask({ stop: "wo", include_stop_str_in_output: true }))).toBe("hello wo")
    expect(shown(await to.ask({ stop: "" }))).toBe(TEXT)
    expect(shown(await to.ask({ stop: [] }))).toBe(TEXT)
  })

  test("ids of tokens, plain and streamed", async () => {
    const answer = await to.ask({ return_token_ids: true })
    const bytes = [...saying(TEXT)]
    const prompt = [104, 105]
    expect(choice(answer).token_ids).toEqual(bytes)
    expect(answer.prompt_token_ids ?? choice(answer).prompt_token_ids).toEqual(prompt)
    const chunks = await to.stream({ return_token_ids: true })
    expect(chunks.flatMap((chunk) => choice(chunk).token_ids ?? [])).toEqual(bytes)
    const [first] = chunks
    expect(first?.prompt_token_ids ?? choice(first).prompt_token_ids).toEqual(prompt)
    expect(JSON.stringify(await to.ask({}))).not.toContain("token_ids")
  })

  test("log-probabilities have ids in place of texts, and none of the end token", async () => {
    const asked = { return_tokens_as_token_ids: true, return_token_ids: true, logprobs: true, max_tokens: 20 }
    const { logprobs } = choice(await to.ask(asked))
    const texts = logprobs?.tokens ?? logprobs?.content?.map(({ token }) => token)
    expect(texts).toEqual([...Buffer.from(TEXT)].map((id) => `token_id:${id}`))
  })

  test("token counts in every event", async () => {
    const options = { stream_options: { continuous_usage_stats: true } }
    const chunks = await to.stream(options)
    const counts = chunks.map(({ usage }) => usage ?? NONE)
    expect(counts.every(({ prompt_tokens: prompt }) => prompt === 2)).toBe(true)
    expect(counts.at(-1)).toEqual({
      prompt_tokens: 2,
      completion_tokens: TEXT.length + 1,
      total_tokens: TEXT.length + 3,
    })
    expect(counts.map((count) => count.completion_tokens)).toEqual(
      counts.map((count) => count.completion_tokens).toSorted((a, b) => a - b),
    )
  })

  test("stream_options without stream are ignored", async () => {
    const answer = await to.ask({ stream_options: { include_usage: true, include_obfuscation: true, other: 1 } })
    expect(answer.object).not.toContain("chunk")
  })

  test("the id of a request, and the fingerprint of the server", async () => {
    const [first, second] = [await to.ask({ request_id: "abc" }), await to.ask({})]
    expect(first.id).toMatch(/^(chatcmpl|cmpl)-abc$/)
    expect(second.id).not.toContain("abc")
    expect(first.system_fingerprint).toMatch(/^b0-[\da-f]{12}$/)
    expect(second.system_fingerprint).toBe(first.system_fingerprint)
  })
})

test("t_max_predict_ms ends the text as its limit of tokens does", async () => {
  await using slow = await serveScript({ tokens: [97], stepMs: 5 })
  const answer = await requester(slow, "completions").ask({ max_tokens: 900, t_max_predict_ms: 40 })
  expect(choice(answer)).toMatchObject({ finish_reason: "length" })
  const length = shown(answer)?.length ?? 0
  expect(length).toBeGreaterThan(0)
  expect(length).toBeLessThan(900)
  expect(slow.engine.running).toBe(0)
})

describe("fields without effect", () => {
  const HINTS = {
    user: "me",
    metadata: { a: "b" },
    store: true,
    service_tier: "flex",
    safety_identifier: "u",
    prompt_cache_key: "k",
    prompt_cache_retention: "24h",
    length_penalty: 1,
    id_slot: 3,
    n_keep: 4,
    tfs_z: 1,
    "speculative.n_max": 4,
    options: { num_ctx: 9 },
    keep_alive: "5m",
    provider: {},
    kv_transfer_params: {},
    lora: [],
    use_beam_search: false,
    logits_processors: null,
  }

  test("do not change the answer, and are counted", async () => {
    const count = async (field: string) => {
      const metrics = await (await fetch(`${server.url}/metrics`)).text()
      return Number(
        new RegExp(`rocmforge_ignored_fields_total\\{field="${RegExp.escape(field)}"\\} (\\d+)`).exec(metrics)?.[1] ??
          0,
      )
    }
    const before = { user: await count("user"), unknown: await count("unknown") }
    expect(choice(await chat().ask({ ...HINTS, verbosity: "low", prediction: {}, web_search_options: {} }))).toEqual(
      choice(await chat().ask({})),
    )
    expect(choice(await requester(server, "completions").ask(HINTS))).toEqual(
      choice(await requester(server, "completions").ask({})),
    )
    await chat().ask({ never_heard_of: 1, nothing: null })
    expect(await count("user")).toBe(before.user + 2)
    expect(await count("unknown")).toBe(before.unknown + 1)
  })

  test("unknown ones are refused by a strict server, known ones are not", async () => {
    await using strict = await serveScript({ tokens: saying(TEXT) }, { strict: true })
    await requester(strict).ask(HINTS)
    const { param, code } = await requester(strict).refusal({ never_heard_of: 1 })
    expect([param, code]).toEqual(["never_heard_of", "unknown_parameter"])
  })
})
