/** Tokens at which the engine of `faulty-engine.ts` misbehaves. */
export const FAULTS = {
  /** The step fails. */
  fail: 901,
  /** The process exits with code 7. */
  exit: 911,
  /** The step takes a second. */
  slow: 831,
  /** The step hangs. */
  hang: 921,
} as const
