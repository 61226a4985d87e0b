import { LocalEngine, type LocalEngineOptions } from "../../../src/engine/engine.ts"
import { SHADOW_VOCAB, ShadowContext } from "./shadow-context.ts"

interface ShadowSetup extends Partial<Omit<LocalEngineOptions, "limits">> {
  maxSeqs?: number
  contextLength?: number
}

/** An engine over the shadow model, with room for everything unless the setup sets other limits. */
export function startShadow(setup: ShadowSetup = {}): { engine: LocalEngine; context: ShadowContext } {
  const { nBlocks = 64, maxTokens = 64, maxSeqs = 8, contextLength = 512, ...rest } = setup
  const context = new ShadowContext({ nBlocks, maxTokens, maxSeqs, max_outputs: maxSeqs + (rest.maxDrafted ?? 0) })
  const limits = { contextLength, nVocab: SHADOW_VOCAB, maxSeqs }
  return { context, engine: new LocalEngine(context, { ...rest, nBlocks: nBlocks, maxTokens: maxTokens, limits }) }
}

export const range = (from: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => (from + i) % SHADOW_VOCAB)
