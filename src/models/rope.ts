/** Rotary position embedding (Su et al. 2021): the inverse frequencies of a model, as the plan's constants. */

import type { ModelConfig, RopeScaling } from "./config.ts"

export interface RopeFrequencies {
  /** Radians a token, [rope_dim / 2]. */
  invFreq: Float32Array
  /** Factor of cosines and sines. */
  magnitude: number
}

/**
 * base^(-2i/dim) for each pair i, stretched as the model asks.
 * @param factors divisor of each frequency, [rope_dim / 2], for files that carry `rope_freqs.weight` (Llama 3.1's scaling).
 */
export function ropeFrequencies(config: ModelConfig, factors?: Float32Array): RopeFrequencies {
  const { ropeDim, ropeBase, ropeScaling } = config
  const stretch = stretcher(ropeScaling, ropeDim, ropeBase)
  const invFreq = new Float32Array(ropeDim / 2)
  for (let i = 0; i < invFreq.length; i++) {
    invFreq[i] = stretch(ropeBase ** ((-2 * i) / ropeDim), i) / (factors?.[i] ?? 1)
  }
  return { invFreq, magnitude: config.ropeAttnFactor * yarnMagnitude(ropeScaling) }
}

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
 * The pairs between which YaRN goes from keeping a frequency to interpolating it: those that turn beta_fast and beta_slow
 * times within the original context (Peng et al. 2023, section 3.2), rounded outwards.
 */
function yarnRange({ originalContext, betaFast, betaSlow }: Yarn, dim: number, base: number): [number, number] {
  const pairOf = (turns: number) => (dim * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(base))
  const low = Math.max(Math.floor(pairOf(betaFast)), 0)
  const high = Math.min(Math.ceil(pairOf(betaSlow)), dim - 1)
  return [low, low === high ? high + 0.001 : high]
}

/** 0.1·ln(factor) + 1, the square root of the paper's attention temperature (section 3.4); 1 without YaRN. */
function yarnMagnitude(scaling: RopeScaling): number {
  if (scaling.type !== "yarn" || scaling.extFactor === 0) return 1
  const { factor, logMultiplier } = scaling
  const mscale = (multiplier: number) => (factor <= 1 ? 1 : 0.1 * multiplier * Math.log(factor) + 1)
  return mscale(1) / (logMultiplier === 0 ? 1 : mscale(logMultiplier))
}
