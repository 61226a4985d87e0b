/** Probabilities of tokens, as llama-server reports them. */

import type { TokenLogprobs } from "../../../engine/types.ts"
import type { Tokenizer } from "../../../text/tokenizer/types.ts"
import type { ScoredToken } from "../../chat/choices.ts"
import { invalidRequest } from "../../http/errors.ts"
import type { TokenProbabilities } from "./schema.ts"
import type { Settings } from "./settings.ts"

/** Fewer bits than a double has: the largest finite value below every log-probability. */
const LOWEST = -3.4028234663852886e38

const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

/** What samplers change the logits themselves, so that the model's probabilities do not give those after sampling. */
const CHANGING = ["repeat_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier", "mirostat"] as const
const NEUTRAL = {
  repeat_penalty: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  dry_multiplier: 0,
  mirostat: 0,
} as const

/** @throws ApiError 400 where the probabilities after sampling cannot be told */
export function checkProbabilities(
  { n_probs, post_sampling_probs, ...settings }: Settings,
  constrained: boolean,
): void {
  if (n_probs === 0 || !post_sampling_probs) return
  const changing = CHANGING.find((name) => settings[name] !== NEUTRAL[name])
  const other = settings.xtc_probability > 0 || settings.typical_p < 1 || settings.top_n_sigma > 0
  const cause = constrained ? "a grammar" : (changing ?? (other ? "this sampler" : undefined))
  if (cause === undefined && settings.logit_bias.length === 0 && settings.dynatemp_range === 0) return
  throw invalidRequest(
    `'post_sampling_probs' is not available with ${cause ?? "these parameters"}; leave one of the two out.`,
    "post_sampling_probs",
    "unsupported_parameter",
  )
}

export function probabilitiesOf(tokenizer: Tokenizer, scored: ScoredToken, settings: Settings): TokenProbabilities {
  const named = (token: number) => {
    const bytes = tokenizer.tokenBytes(token)
    return { id: token, token: lossy.decode(bytes), bytes: [...bytes] }
  }
  const { token, logprobs } = scored
  if (!settings.post_sampling_probs) {
    const value = (logprob: number) => ({ logprob: Math.max(logprob, LOWEST) })
    return [
      {
        ...named(token),
        ...value(logprobs.logprob),
        top_logprobs: logprobs.top.map((top) => ({ ...named(top.token), ...value(top.logprob) })),
      },
    ]
  }
  const kept = afterSampling(logprobs, settings)
  const own = kept.find((candidate) => candidate.token === token)
  return [
    {
      ...named(token),
      // A token that is not among the most probable ones has at most the share of the last of them.
      prob: own?.prob ?? Math.min(1, Math.exp(logprobs.logprob)),
      top_probs: kept
        .slice(0, settings.n_probs)
        .map((candidate) => ({ ...named(candidate.token), prob: candidate.prob })),
    },
  ]
}

/** The tokens that top-k, top-p and min-p leave, and their probabilities at the temperature. */
function afterSampling(
  { top }: TokenLogprobs,
  { samplers, temperature, top_k, top_p, min_p }: Settings,
): { token: number; prob: number }[] {
  const has = (name: string) => samplers.includes(name)
  let kept = top.map(({ token, logprob }) => ({ token, prob: Math.exp(logprob) }))
  if (temperature === 0) return kept.slice(0, 1).map(({ token }) => ({ token, prob: 1 }))
  if (has("top_k") && top_k > 0) kept = kept.slice(0, top_k)
  if (has("top_p") && top_p < 1) {
    // The limit counts in what top-k has left.
    const total = has("top_k") && top_k > 0 && top_k <= top.length ? sum(kept) : 1
    let before = 0
    kept = kept.filter(({ prob }) => {
      const within = before < top_p * total
      before += prob
      return within
    })
  }
  const most = kept[0]?.prob ?? 0
  if (has("min_p")) kept = kept.filter(({ prob }) => prob >= min_p * most)
  const scaled = kept.map(({ token, prob }) => ({ token, prob: has("temperature") ? prob ** (1 / temperature) : prob }))
  const total = sum(scaled)
  return scaled.map(({ token, prob }) => ({ token, prob: prob / total })).filter(({ prob }) => prob > 0)
}

const sum = (list: readonly { prob: number }[]): number => list.reduce((total, { prob }) => total + prob, 0)
