/** The chain of samplers in float64, and the random numbers that outputs draw with. */

import { GREEDY_OUTPUT } from "../../src/native/step-structs.ts"
import type { OutputSpec } from "./kernel-step.ts"

/** A token that may still be drawn: its logit, and its probability among all that may. */
interface Candidate {
  token: number
  logit: number
  p: number
}

/** What a chain leaves: probabilities by token, 0 for the dropped ones. */
export interface ChainResult {
  probabilities: Float64Array
  kept: number[]
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

const byProbability = (a: Candidate, b: Candidate): number => b.p - a.p || a.token - b.token

/** Gives the candidates the probabilities of their logits at a temperature. */
function weighted(candidates: readonly Candidate[], temperature: number): Candidate[] {
  const most = Math.max(...candidates.map(({ logit }) => logit))
  const weights = candidates.map(({ logit }) => Math.exp((logit - most) / temperature))
  const total = sum(weights)
  return candidates.map((candidate, i) => ({ ...candidate, p: (weights[i] as number) / total }))
}

const renormalized = (candidates: readonly Candidate[]): Candidate[] => {
  const total = sum(candidates.map(({ p }) => p))
  return candidates.map((candidate) => ({ ...candidate, p: candidate.p / total }))
}

/** The first of an order that together reach a probability, at least `least` of them. */
function reaching(ordered: readonly Candidate[], probability: number, least: number): Candidate[] {
  let seen = 0
  const last = ordered.findIndex(({ p }) => {
    seen += p
    return seen >= probability
  })
  return ordered.slice(0, Math.max(last < 0 ? ordered.length : last + 1, least))
}

const entropyOf = (candidates: readonly Candidate[]): number =>
  -sum(candidates.map(({ p }) => (p === 0 ? 0 : p * Math.log(p))))

/** The temperature of dynamic temperature sampling, by the entropy at temperature 1. */
function dynamicTemperature(candidates: readonly Candidate[], output: typeof GREEDY_OUTPUT): number {
  const { temperature, dynatemp_range: range, dynatemp_exponent: exponent } = output
  if (range === 0 || candidates.length < 2) return temperature
  const share = entropyOf(weighted(candidates, 1)) / Math.log(candidates.length)
  const low = Math.max(0, temperature - range)
  return low + (temperature + range - low) * share ** exponent
}

/** `u` in [0, 1): the random number that decides whether XTC applies. */
export function chainOf(logits: ArrayLike<number>, spec: OutputSpec, u: number): ChainResult {
  const output = { ...GREEDY_OUTPUT, temperature: 1, ...spec }
  const all = Array.from(logits, (logit, token) => ({ token, logit, p: 0 })).filter(
    ({ logit }) => logit !== Number.NEGATIVE_INFINITY,
  )
  const last = output.temperature_last === 1
  let left = weighted(all, last ? 1 : dynamicTemperature(all, output))
  left =
    output.mirostat > 0 ? mirostat(weighted(all, output.temperature), output, logits.length) : limited(left, output, u)
  if (last && output.mirostat === 0) left = weighted(left, dynamicTemperature(left, output))
  left = renormalized(left)
  const probabilities = new Float64Array(logits.length)
  for (const { token, p } of left) probabilities[token] = p
  return { probabilities, kept: left.map(({ token }) => token).sort((a, b) => a - b) }
}

function limited(candidates: readonly Candidate[], output: typeof GREEDY_OUTPUT, u: number): Candidate[] {
  const least = Math.max(1, output.min_keep)
  let left = [...candidates]
  if (output.top_n_sigma > 0) {
    const mean = sum(left.map(({ logit }) => logit)) / left.length
    const sigma = Math.sqrt(sum(left.map(({ logit }) => (logit - mean) ** 2)) / left.length)
    const most = Math.max(...left.map(({ logit }) => logit))
    left = left.filter(({ logit }) => most - logit <= output.top_n_sigma * sigma)
  }
  left = renormalized(left.sort(byProbability))
  if (output.top_k > 0) left = renormalized(left.slice(0, output.top_k))
  if (output.typical_p < 1) {
    const entropy = entropyOf(left)
    const distance = ({ p }: Candidate) => Math.abs(-Math.log(p) - entropy)
    left.sort((a, b) => distance(a) - distance(b) || a.token - b.token)
    left = renormalized(reaching(left, output.typical_p, least)).sort(byProbability)
  }
  if (output.top_p < 1) left = renormalized(reaching(left, output.top_p, least))
  if (output.min_p > 0) {
    const most = left[0]?.p ?? 0
    left = renormalized(left.filter(({ p }, i) => i < least || p >= output.min_p * most))
  }
  if (u < output.xtc_probability) {
    const above = left.filter(({ p }) => p >= output.xtc_threshold).length
    if (above > 1 && left.length - (above - 1) >= least) left = left.slice(above - 1)
  }
  return left
}

/** Basu et al. 2021: algorithm 2 keeps tokens of a surprise of at most `mu` bits, algorithm 1 the `k` most probable ones. */
function mirostat(candidates: readonly Candidate[], output: typeof GREEDY_OUTPUT, nVocab: number): Candidate[] {
  const ranked = [...candidates].sort(byProbability)
  const mu = output.mirostat_mu
  if (output.mirostat === 2) return ranked.filter(({ p }, i) => i === 0 || -Math.log2(p) <= mu)
  const top = ranked.slice(0, 100)
  const t = top.slice(1).map((_, i) => Math.log((i + 2) / (i + 1)))
  const b = top.slice(1).map(({ p }, i) => Math.log((top[i] as Candidate).p / p))
  const s = sum(t.map((value, i) => value * (b[i] as number))) / sum(t.map((value) => value * value))
  const epsilon = s - 1
  const k = ((epsilon * 2 ** mu) / (1 - nVocab ** -epsilon)) ** (1 / s)
  return ranked.slice(0, Math.max(1, Math.floor(k)))
}

/** The two random numbers of draw `counter` under a seed: Philox4x32-10 (Salmon et al. 2011). */
export function uniforms(seed: bigint, counter: number): { draw: number; xtc: number } {
  const low = (x: bigint) => BigInt.asUintN(32, x)
  let c = [BigInt(counter), 0n, 0n, 0n] as [bigint, bigint, bigint, bigint]
  let [k0, k1] = [low(seed), low(seed >> 32n)]
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c[0]
    const b = 0xcd9e8d57n * c[2]
    c = [low(b >> 32n) ^ c[1] ^ k0, low(b), low(a >> 32n) ^ c[3] ^ k1, low(a)]
    k0 = low(k0 + 0x9e3779b9n)
    k1 = low(k1 + 0xbb67ae85n)
  }
  const unit = (high: bigint, rest: bigint) => Number(((high << 32n) | rest) >> 11n) * 2 ** -53
  return { draw: unit(c[0], c[1]), xtc: unit(c[2], c[3]) }
}

/** The token at share `u` of the probabilities, in the order of ids, and how far `u` is from the next border. */
export function drawn(probabilities: Float64Array, u: number): { token: number; margin: number } {
  let seen = 0
  for (const [token, p] of probabilities.entries()) {
    seen += p
    if (p > 0 && seen > u) return { token, margin: Math.min(seen - u, u - (seen - p)) }
  }
  return { token: probabilities.findLastIndex((p) => p > 0), margin: 0 }
}
