/** A thread's `workerData`: by it a program that is one file knows what the thread is for; see `cli.ts`. */
export const ENCODER = "encoder"
