/**
 * With `deterministic`, on every available backend, a request's tokens and log-probabilities have the same bits alone and among 31
 * others, under preemption in a small cache, with any cached prefix, and for any chunks of its prompt.
 */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type LoadOptions, loadModel } from "../../../src/engine/load.ts"
import type { LoadedModel } from "../../../src/engine/types.ts"
import { buildModel } from "../../../src/models/registry.ts"
import type { Dtype } from "../../../src/native/ops.ts"
import { mixedRequests, said as read } from "../../support/isolation.ts"
import type { Backend } from "../../support/kernel-harness.ts"
import { onEveryBackend } from "../../support/kernel-suite.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"

const CONTEXT = 160
/** Blocks of the small cache: slightly more than one request of full length needs. */
const N_BLOCKS = 14

let folder: string
let path: string
const requests = mixedRequests({ n: 32, longest: 90, nVocab: 320 })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-isolation-"))
  path = join(folder, "tiny.gguf")
  // The head size is a block of q8_0.
  await writeTinyModel(path, { format: "Q8_0", context_length: 512, heads: 2, kv_heads: 1 })
})

afterAll(() => rm(folder, { recursive: true }))

const together: [name: string, options: LoadOptions][] = [
  ["with the prefix cache", { maxSeqs: 8 }],
  ["without it", { maxSeqs: 8, prefixCache: false }],
  ["in small chunks", { maxSeqs: 5, batchSize: 24, chunkSize: 7 }],
  ["with guessed tokens", { maxSeqs: 2, speculative: "ngram" }],
  ["with a cache of 8-bit numbers", { maxSeqs: 8, kvType: "q8_0" }],
  ["with a cache of floats", { maxSeqs: 8, kvType: "f32" }],
  ["many at once", { maxSeqs: 32, batchSize: 64, chunkSize: 64 }],
]
onEveryBackend("a deterministic engine", (backend: Backend) => {
  /** Outputs by the cache's number format. */
  const alone = new Map<Dtype, Promise<string[]>>()

  const load = (options: LoadOptions) =>
    loadModel(path, { device: backend, threads: 1, ctxSize: CONTEXT, deterministic: true, ...options })

  /** Output of each request when nothing else runs and nothing is cached. */
  function saidAlone(kvType: Dtype = "f16"): Promise<string[]> {
    const run = async () => {
      await using model = await load({ maxSeqs: 1, prefixCache: false, kvType: kvType })
      const said: string[] = []
      for (const asked of requests) said.push(await read(model, asked))
      return said
    }
    const said = alone.get(kvType) ?? run()
    alone.set(kvType, said)
    return said
  }

  /** Loads the model with a cache of `N_BLOCKS`. */
  async function loadSmall(options: LoadOptions): Promise<LoadedModel> {
    const large = await load({ maxSeqs: 1 })
    const { kv } = buildModel(large.gguf).memory({ contextLength: 16, kvType: options.kvType ?? "f16" })
    const memoryLimit = large.memory.weights + N_BLOCKS * kv
    await large.close()
    const model = await load({ ...options, memoryLimit: memoryLimit })
    expect(model.engine.stats().blocksTotal).toBe(N_BLOCKS)
    return model
  }

  for (const [name, options] of together) {
    test(`alone and among 31 others, ${name}`, async () => {
      await using model = await loadSmall(options)
      const wanted = await saidAlone(options.kvType)
      const answers = await Promise.all(requests.map((asked) => read(model, asked)))
      for (const [i, answer] of answers.entries()) expect(answer).toBe(wanted[i] as string)
      const { nPreemptions, prefixHitTokens, blocksFree, acceptedTokens } = model.engine.stats()
      expect(nPreemptions).toBeGreaterThan(0)
      expect(prefixHitTokens > 0).toBe(options.prefixCache !== false)
      expect(blocksFree).toBe(N_BLOCKS)
      expect(acceptedTokens > 0).toBe(options.speculative === "ngram")
    })
  }

  test("a cached prompt gives the same bits", async () => {
    await using model = await load({ maxSeqs: 2 })
    const wanted = await saidAlone()
    for (const [i, asked] of requests.slice(0, 16).entries()) {
      for (const time of ["first", "second"]) expect(`${time} ${await read(model, asked)}`).toBe(`${time} ${wanted[i]}`)
    }
    const { prefixHitTokens, prefixQueryTokens } = model.engine.stats()
    expect(prefixHitTokens).toBeGreaterThan(prefixQueryTokens / 3)
  })

  test("several choices give the same bits as separate requests", async () => {
    await using model = await loadSmall({ maxSeqs: 4 })
    const asked = requests.find(({ tokens, sampling }) => tokens.length > 40 && sampling.temperature === 1)
    if (!asked) throw new Error("no such request")
    const together: string[][] = [[], [], []]
    for await (const event of model.engine.generate({ ...asked, n: 3 })) {
      if (event.type === "token") together[event.index]?.push(JSON.stringify([event.token, event.logprobs]))
    }
    for (const [i, events] of together.entries()) {
      const seed = asked.sampling.seed + BigInt(i)
      const own: string[] = []
      for await (const event of model.engine.generate({ ...asked, sampling: { ...asked.sampling, seed } })) {
        if (event.type === "token") own.push(JSON.stringify([event.token, event.logprobs]))
      }
      expect(events).toEqual(own)
    }
    expect(together[0]).not.toEqual(together[1] as string[])
  })
})
