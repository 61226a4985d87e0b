/** Ranking: how well texts answer a query, by a model that is made for it. */

import { sideBySide } from "../../async.ts"
import { embedTokens } from "../../engine/prefill-only.ts"
import type { LoadedModel } from "../../engine/types.ts"
import type { RunContext } from "./choices.ts"
import { checkPrompt } from "./choices.ts"
import { encodeToRead } from "./encode.ts"

/** Whether the model's file has what ranks texts. */
export const ranks = ({ config, rankHead }: LoadedModel): boolean => config.pooling === "rank" && rankHead !== undefined

/** The name of the template of pairs among a file's chat templates. It is no Jinja: it has `{query}` and `{document}`. */
const TEMPLATE = "rerank"

/**
 * The scores of texts; greater ones answer the query better. With two outputs, which are "yes" and "no" (Qwen3-Reranker), a score is the
 * probability of the first; with one, it is that output.
 * @param pairs A query and a text each. @throws RequestError, EngineError, OverloadedError
 */
export async function rankTexts(
  model: LoadedModel,
  { id, controller, queue }: RunContext,
  pairs: readonly (readonly [query: string, text: string])[],
): Promise<{ scores: number[]; promptTokens: number }> {
  const { engine } = model
  const prompts: Int32Array[] = []
  for (const [query, text] of pairs) prompts.push(await pairTokens(model, query, text))
  for (const prompt of prompts) checkPrompt(model, prompt, "input")
  const { cacheSalt: _, ...place } = queue
  const states = await sideBySide(prompts, engine.limits.maxSeqs, controller, (tokens, index) =>
    embedTokens(engine, { ...place, id: `${id}-${index}`, tokens, pooling: "last" }, controller.signal),
  )
  return {
    scores: states.map(({ raw }) => scoreOf(model, raw)),
    promptTokens: states.reduce((sum, { usage }) => sum + usage.promptTokens, 0),
  }
}

/** The tokens of a pair: as the model's template writes it, else both texts with an end token after each. */
async function pairTokens(model: LoadedModel, query: string, text: string): Promise<Int32Array> {
  const { tokenizer, chatTemplate } = model
  const { addBos, addEos, eosId } = tokenizer
  if (chatTemplate?.variants.includes(TEMPLATE)) {
    // One pass, so that a query with the word {document} stays as it is.
    const prompt = chatTemplate
      .source(TEMPLATE)
      .replace(/\{(query|document)\}/g, (_, name) => (name === "query" ? query : text))
    return await encodeToRead(model, prompt, { special: true, addBos }, "input")
  }
  const end = addEos && eosId !== undefined ? [eosId] : []
  const before = await encodeToRead(model, query, { addBos }, "input")
  const after = await encodeToRead(model, text, {}, "input")
  return Int32Array.from([...before, ...end, ...after, ...end])
}

function scoreOf({ rankHead, config }: LoadedModel, hidden: Float32Array): number {
  const { weight = new Float32Array(), scores = 0 } = rankHead ?? {}
  const outputs = Array.from({ length: scores }, (_, row) =>
    hidden.reduce((sum, value, i) => sum + value * (weight[row * config.hiddenSize + i] ?? 0), 0),
  )
  const [first = 0, second] = outputs
  return second === undefined ? first : 1 / (1 + Math.exp(second - first))
}
