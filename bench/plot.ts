import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { levelsOf, runsOf, type Run } from './measure.ts';
import { SCENARIO_TITLES, SCENARIOS } from './scenarios.ts';
import { spread, type Spread } from './statistics.ts';

const PANEL_WIDTH = 300;
const PANEL_HEIGHT = 220;

interface Point extends Spread {
  readonly metric: string;
  readonly scenario: string;
  readonly inFlight: number;
}

const METRICS = [
  ['requests per second', (run: Run) => run.requestsPerSecond],
  ['p50 in ms', (run: Run) => run.p50Ms],
] as const;

/** Throughput and latency by calls in flight, medians with min–max, as an SVG document. */
export function plotRuns(runs: readonly Run[]): Promise<string> {
  const { spec } = compile(specification(points(runs)));
  return new View(parse(spec), { renderer: 'none' }).toSVG();
}

function points(runs: readonly Run[]): Point[] {
  return METRICS.flatMap(([metric, of]) =>
    SCENARIOS.flatMap((scenario) =>
      levelsOf(runs).map((inFlight) => ({
        metric,
        scenario: SCENARIO_TITLES[scenario],
        inFlight,
        ...spread(runsOf(runs, scenario, inFlight).map(of)),
      })),
    ),
  );
}

function specification(values: readonly Point[]): TopLevelSpec {
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v5.json',
    background: 'white',
    data: { values: [...values] },
    facet: { column: { field: 'metric', title: null, sort: METRICS.map(([metric]) => metric) } },
    resolve: { scale: { y: 'independent' } },
    spec: {
      width: PANEL_WIDTH,
      height: PANEL_HEIGHT,
      encoding: {
        x: {
          field: 'inFlight',
          type: 'quantitative',
          title: 'in flight',
          scale: { type: 'log', base: 2 },
          axis: { values: [...new Set(values.map(({ inFlight }) => inFlight))] },
        },
        color: {
          field: 'scenario',
          title: null,
          sort: Object.values(SCENARIO_TITLES),
          legend: { orient: 'bottom', columns: 1, labelLimit: 600 },
        },
      },
      layer: [
        { mark: 'rule', encoding: y('min', { y2: { field: 'max' } }) },
        { mark: { type: 'line', point: true }, encoding: y('median') },
      ],
    },
  };
}

function y(field: keyof Spread, more: { y2?: { field: keyof Spread } } = {}) {
  return { y: { field, type: 'quantitative' as const, title: null }, ...more };
}
