import { LocalEngine, type LocalEngineOptions } from "../../../src/engine/engine.ts"
import { SHADOW_VOCAB, ShadowContext } from "./shadow-context.ts"

export interface ShadowSetup extends Partial<Omit<LocalEngineOptions, "limits">> {
  max_seqs?: number
  context_length?: number
}

/** An engine over the shadow model, with room for everything unless the setup says otherwise. */
export function startShadow(setup: ShadowSetup = {}): { engine: LocalEngine; context: ShadowContext } {
  const { n_blocks = 64, max_tokens = 64, max_seqs = 8, context_length = 512, ...rest } = setup
  const context = new ShadowContext({ n_blocks, max_tokens, max_seqs, max_outputs: max_seqs + (rest.max_drafted ?? 0) })
  const limits = { context_length, n_vocab: SHADOW_VOCAB, max_seqs }
  return { context, engine: new LocalEngine(context, { ...rest, n_blocks, max_tokens, limits }) }
}

export const range = (from: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => (from + i) % SHADOW_VOCAB)
