// A specification of vega-lite as SVG, drawn without a DOM. The background is white, so that it can be read on a dark page, too.
import * as vega from 'vega';
import { compile } from 'vega-lite';

const FONT = 'DejaVu Sans, Verdana, Arial, sans-serif';

export async function draw(spec) {
  const config = {
    background: '#ffffff',
    padding: 12,
    font: FONT,
    axis: { labelFontSize: 11, titleFontSize: 12, titleFontWeight: 'normal', gridColor: '#e4e4e4', labelLimit: 260 },
    header: { labelFontSize: 12, labelFontWeight: 'bold', titleFontSize: 12 },
    legend: { labelFontSize: 11, labelLimit: 260, symbolStrokeWidth: 2.5, symbolSize: 90 },
    title: { fontSize: 14, subtitleFontSize: 11, subtitleColor: '#444444', anchor: 'start', offset: 14 },
    view: { stroke: '#cccccc' },
  };
  const { spec: compiled } = compile({ $schema: 'https://vega.github.io/schema/vega-lite/v6.json', config, ...spec });
  const view = new vega.View(vega.parse(compiled), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
