// A dashboard of ours in the types that Grafana publishes, as JSON has them: an enum is its value.
// What those types leave open (`Record<string, unknown>`) is closed with the ones of our panels.
import type * as grafana from "@grafana/schema";
import type {
  FieldConfig,
  Options,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Json<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends (infer Item)[]
        ? Json<Item>[]
        : { [Key in keyof T]: Json<T[Key]> };

interface Fields extends Omit<grafana.FieldConfigSource, "defaults"> {
  defaults: Omit<grafana.FieldConfig, "custom"> & { custom: FieldConfig };
}

interface TimeSeries extends Omit<grafana.Panel, "type" | "options" | "fieldConfig"> {
  type: "timeseries";
  options: Options;
  fieldConfig: Fields;
}

interface Shown extends Omit<grafana.Dashboard, "panels"> {
  panels: (TimeSeries | grafana.RowPanel)[];
}

export type Dashboard = Json<Shown>;
