import type { Metric, Registry } from "prom-client"

/** Counts one number. */
export type Observe = (value: number) => void

interface Series {
  /** For each bucket, how many values are in it and in none before it; the last one has no bound. */
  readonly counts: Float64Array
  sum: number
}

/**
 * A histogram for each model. One that is fed at every token has to take a number in well under a microsecond, which prom-client's own
 * does not: it looks its labels up, and checks them, each time.
 */
export class ModelHistogram {
  readonly #series = new Map<string, Series>()

  /** @param buckets Upper bounds, in ascending order. */
  constructor(
    readonly name: string,
    readonly help: string,
    readonly buckets: readonly number[],
    registry: Registry,
  ) {
    // The registry uses no more of a metric than its name and `get`.
    registry.registerMetric(this as unknown as Metric)
  }

  of(modelName: string): Observe {
    const { buckets } = this
    const series: Series = { counts: new Float64Array(buckets.length + 1), sum: 0 }
    this.#series.set(modelName, series)
    const { counts } = series
    return (value) => {
      let bucket = 0
      while (bucket < buckets.length && value > (buckets[bucket] ?? 0)) bucket++
      counts[bucket] = (counts[bucket] ?? 0) + 1
      series.sum += value
    }
  }

  /** As Prometheus has it: each bucket counts what is in those before it, too. */
  async get() {
    const values = [...this.#series].flatMap(([modelName, { counts, sum }]) => {
      let count = 0
      const within = Array.from(counts, (more, i) => {
        count += more
        const labels = { le: this.buckets[i] ?? "+Inf", model_name: modelName }
        return { metricName: `${this.name}_bucket`, labels, value: count }
      })
      const labels = { model_name: modelName }
      return [
        ...within,
        { metricName: `${this.name}_sum`, labels, value: sum },
        { metricName: `${this.name}_count`, labels, value: count },
      ]
    })
    return { name: this.name, help: this.help, type: "histogram", values, aggregator: "sum" }
  }
}
