/**
 * Does the work of each item, at most `limit` at a time. The first failure aborts the controller, and is thrown when all others have ended.
 * @returns what each gave, in the items' order.
 */
export async function sideBySide<T, R>(
  items: readonly T[],
  limit: number,
  controller: AbortController,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const run = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index] as T, index)
  }
  const runs = Array.from({ length: Math.min(items.length, limit) }, run)
  try {
    await Promise.all(runs)
  } catch (error) {
    controller.abort()
    await Promise.allSettled(runs)
    throw error
  }
  return results
}
