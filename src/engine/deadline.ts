import { type GenerateRequest, OverloadedError } from "./types.ts"

/** The longest time that a timer can wait. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Calls `late` with the error when the request's deadline passes. @returns the timer to clear when it ends before. */
export function startDeadline(
  { deadline_ms }: GenerateRequest,
  retryAfter: () => number,
  late: (error: OverloadedError) => void,
): ReturnType<typeof setTimeout> | undefined {
  if (deadline_ms === undefined) return undefined
  const message = `the request did not end within its ${deadline_ms} ms`
  const tell = () => late(new OverloadedError(message, "deadline", retryAfter()))
  return setTimeout(tell, Math.min(deadline_ms, LONGEST_TIMER_MS))
}
