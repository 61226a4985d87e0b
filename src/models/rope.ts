/** Rotary position embedding (Su et al. 2021): the frequencies that a plan carries as constants. */

import type { RopeConfig, RopeScaling } from "./config.ts"

interface RopeFrequencies {
  /** Radians a token, f32 [dim / 2]. */
  invFreq: Float32Array
  /** Factor of cosines and sines. */
  magnitude: number
}

/**
 * The frequency base^(-2i/dim) of each pair i, scaled as the model's metadata asks.
 * @param factors divisor of each frequency, f32 [dim / 2]: the tensor `rope_freqs.weight` of files with Llama 3.1's scaling.
 */
export function ropeFrequencies(rope: RopeConfig, factors?: Float32Array): RopeFrequencies {
  const { dim, base, scaling, attnFactor } = rope
  const stretch = stretcher(scaling, dim, base)
  const invFreq = Float32Array.from({ length: dim / 2 }, (_, i) => {
    return stretch(base ** ((-2 * i) / dim), i) / (factors?.[i] ?? 1)
  })
  return { invFreq, magnitude: attnFactor * yarnMagnitude(scaling) }
}

/** Returns the function that scales the frequency of a pair. */
function stretcher(scaling: RopeScaling, dim: number, base: number): (frequency: number, pair: number) => number {
  if (scaling.type === "none") return (frequency) => frequency
  if (scaling.type === "linear") return (frequency) => frequency / scaling.factor
  const { factor, extFactor } = scaling
  const [low, high] = yarnRange(scaling, dim, base)
  return (frequency, pair) => {
    const ramp = Math.min(Math.max((pair - low) / (high - low), 0), 1)
    const keep = (1 - ramp) * extFactor
    return (frequency / factor) * (1 - keep) + frequency * keep
  }
}

type Yarn = Extract<RopeScaling, { type: "yarn" }>

/**
 * The pairs [low, high] of YaRN's ramp: frequencies of pairs up to `low` are kept, from `high` on they are interpolated. These pairs turn
 * beta_fast and beta_slow times within the original context (Peng et al. 2023, section 3.2), rounded outwards.
 */
function yarnRange({ originalContext, betaFast, betaSlow }: Yarn, dim: number, base: number): [number, number] {
  const pairOf = (turns: number) => (dim * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(base))
  const low = Math.max(Math.floor(pairOf(betaFast)), 0)
  const high = Math.min(Math.ceil(pairOf(betaSlow)), dim - 1)
  return [low, low === high ? high + 0.001 : high]
}

/** YaRN's factor of cosines and sines, 0.1·ln(factor) + 1, the square root of its attention temperature (section 3.4); else 1. */
function yarnMagnitude(scaling: RopeScaling): number {
  if (scaling.type !== "yarn" || scaling.extFactor === 0) return 1
  const { factor, logMultiplier } = scaling
  const mscale = (multiplier: number) => (factor <= 1 ? 1 : 0.1 * multiplier * Math.log(factor) + 1)
  return mscale(1) / (logMultiplier === 0 ? 1 : mscale(logMultiplier))
}
