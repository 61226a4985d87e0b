/** Seeded random prompts and arrival times: the same seed gives the same ones. */

/** Uniform numbers in [0, 1) by the 32-bit generator mulberry32. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Ids below this are control tokens and single bytes in most vocabularies. */
const FIRST_TOKEN = 1000

/** A prompt of `length` token ids below `n_vocab`. Prompts of different seeds share no prefix. */
export function randomPrompt(length: number, seed: number, n_vocab: number): number[] {
  const next = uniform(seed)
  const first = Math.min(FIRST_TOKEN, n_vocab >> 2)
  return Array.from({ length }, () => first + Math.floor(next() * (n_vocab - first)))
}

/** Arrival times of `n` requests in milliseconds, from 0: a Poisson process of `rate` per second, with exponential gaps. */
export function poissonArrivals(n: number, rate: number, seed: number): number[] {
  const next = uniform(seed)
  let at = 0
  return Array.from({ length: n }, () => {
    const arrival = at
    at += (-Math.log(1 - next()) * 1000) / rate
    return arrival
  })
}
