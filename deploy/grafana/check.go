//go:build grafana

package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// check reads a dashboard strictly.
func check(file string) error {
	// The model takes any options of a panel, and any query, unless their kind is known.
	kinds := cog.NewRuntime()
	kinds.RegisterPanelcfgVariant(stat.VariantConfig())
	kinds.RegisterPanelcfgVariant(timeseries.VariantConfig())
	kinds.RegisterDataqueryVariant(prometheus.VariantConfig())
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var d dashboard.Dashboard
	// The error of a dashboard without a mistake is an empty one.
	if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return err
	}
	for _, p := range d.Panels {
		if p.Panel != nil && p.Panel.Type != "stat" && p.Panel.Type != "timeseries" {
			return fmt.Errorf("panel %q is a %s: register its kind here", *p.Panel.Title, p.Panel.Type)
		}
	}
	if err := d.Validate(); err != nil {
		return err
	}
	fmt.Printf("ok: %q, %d panels, for the schema %d\n", *d.Title, len(d.Panels), d.SchemaVersion)
	return nil
}
