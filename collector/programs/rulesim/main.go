// Rulesim evaluates rule files over months of given samples, with Prometheus' own rules and PromQL,
// and prints which alerts fired when, one JSON object a line.
//
// Prometheus evaluates all rules at one instant, then at the next. Here each rule is evaluated over
// a day as a range query, in the order of what reads what, which gives the same samples (also the
// markers of series that end) some fifty times faster. promtool cannot do it: it takes no group's
// own interval, and no query of more than 10,000 samples.
//
//	rulesim -start 1780272000 -minutes 43200 RULES.yml ... < SERIES
//
// SERIES holds a series a line, in promtool's notation, a value a minute from the start.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"math"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	minute = int64(60_000)
	day    = 1440 * minute
)

// A step is one rule, and what is remembered of it between two days.
type step struct {
	rule     rules.Rule
	interval int64
	offset   int64
	reads    map[string]bool
	alive    map[uint64]*lastSeen
	firing   map[string]*firing
	past     *past
}

type lastSeen struct {
	series    labels.Labels
	reference storage.SeriesRef
	at        int64
}

// A firing is one alert from the evaluation at which it began to fire to the last at which it did.
type firing struct {
	Alert  string            `json:"alert"`
	Labels map[string]string `json:"labels"`
	From   int64             `json:"from"`
	To     int64             `json:"to"`
	Value  float64           `json:"value"`
}

type simulation struct {
	db     *tsdb.DB
	engine *promql.Engine
	out    *json.Encoder
}

func main() {
	start := flag.Int64("start", 0, "Unix time of the first sample")
	minutes := flag.Int64("minutes", 0, "how long")
	delay := flag.Int64("delay", 30, "seconds from a sample to the next evaluation")
	groups := flag.String("groups", ".*", "which groups, as a regular expression")
	query := flag.String("query", "", "write what this expression finds to the standard error, as series are read")
	flag.Parse()
	debug.SetGCPercent(400)
	if err := run(*start*1000, *minutes*minute, *delay*1000, *groups, *query, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(start, length, delay int64, groups, query string, files []string) error {
	folder, err := os.MkdirTemp("", "rulesim-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	options := tsdb.DefaultOptions()
	options.WALSegmentSize = -1
	options.NoLockfile = true
	// Everything stays in the head, which takes samples of half of this behind its newest.
	options.MinBlockDuration = 4 * (length + 30*day)
	options.MaxBlockDuration = options.MinBlockDuration
	options.RetentionDuration = 0
	db, err := tsdb.Open(folder, promslog.NewNopLogger(), nil, options, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	db.DisableCompactions()
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:               500_000_000,
		Timeout:                  time.Hour,
		LookbackDelta:            5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return minute },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
	})
	s := &simulation{db, engine, json.NewEncoder(os.Stdout)}
	steps, err := load(files, groups)
	if err != nil {
		return err
	}
	if err := s.read(start, steps); err != nil {
		return err
	}
	for from := start; from < start+length; from += day {
		to := min(from+day, start+length)
		for _, step := range steps {
			if err := s.evaluate(step, start+delay, from+delay, to+delay-1); err != nil {
				return fmt.Errorf("%s: %w", step.rule.Name(), err)
			}
		}
	}
	if query != "" {
		if err := s.write(query, start+delay, start+length+delay-1); err != nil {
			return err
		}
	}
	return s.end(steps)
}

// load reads the rules, and puts those that read what others record after these.
func load(files []string, groups string) ([]*step, error) {
	chosen, err := regexp.Compile("^(?:" + groups + ")$")
	if err != nil {
		return nil, err
	}
	manager := rules.NewManager(&rules.ManagerOptions{
		Context: context.Background(), Logger: promslog.NewNopLogger(),
	})
	loaded, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, files...)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	var open, ordered []*step
	left := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(loaded)) {
		group := loaded[key]
		for _, rule := range group.Rules() {
			if !chosen.MatchString(group.Name()) {
				left[written(rule)] = true
				continue
			}
			open = append(open, &step{
				rule: rule, interval: group.Interval().Milliseconds(),
				offset: group.QueryOffset().Milliseconds(), reads: reads(rule.Query()),
				alive: map[uint64]*lastSeen{}, firing: map[string]*firing{},
			})
		}
	}
	for _, step := range open {
		for read := range step.reads {
			if left[read] {
				return nil, fmt.Errorf("%s reads %s of a group that is left out", step.rule.Name(), read)
			}
		}
	}
	open = slices.DeleteFunc(open, func(one *step) bool { return !needed(one, open) })
	for len(open) > 0 {
		at := slices.IndexFunc(open, func(one *step) bool {
			return !slices.ContainsFunc(open, func(other *step) bool {
				return other != one && one.reads[written(other.rule)]
			})
		})
		if at < 0 {
			return nil, fmt.Errorf("%s and another rule read each other", open[0].rule.Name())
		}
		ordered, open = append(ordered, open[at]), slices.Delete(open, at, at+1)
	}
	return ordered, nil
}

// needed tells whether an alert reads what a rule records, or what is made of it.
func needed(one *step, all []*step) bool {
	if _, isAlert := one.rule.(*rules.AlertingRule); isAlert {
		return true
	}
	return slices.ContainsFunc(all, func(other *step) bool {
		return other != one && other.reads[written(one.rule)] && needed(other, all)
	})
}

// written is the metric that a rule writes.
func written(rule rules.Rule) string {
	if _, isAlert := rule.(*rules.AlertingRule); isAlert {
		return "ALERTS"
	}
	return rule.Name()
}

// reads are the metrics that an expression reads.
func reads(expr parser.Expr) map[string]bool {
	names := map[string]bool{}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names[selector.Name] = true
		}
		return nil
	})
	return names
}

var leading = regexp.MustCompile(`} _x([0-9]+)`)

// read stores the series of the standard input.
func (s *simulation) read(start int64, steps []*step) error {
	wanted := map[string]bool{}
	for _, step := range steps {
		maps.Copy(wanted, step.reads)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<28)
	language := parser.NewParser(parser.Options{})
	for lines.Scan() {
		text := lines.Text()
		name, _, _ := strings.Cut(text, "{")
		if !wanted[name] {
			continue
		}
		// What is omitted before the first value is skipped here: the parser makes a value of each.
		begin := start
		if gap := leading.FindStringSubmatchIndex(text); gap != nil {
			omitted, _ := strconv.ParseInt(text[gap[2]:gap[3]], 10, 64)
			begin += omitted * minute
			text = text[:gap[0]+1] + text[gap[1]:]
		}
		series, values, err := language.ParseSeriesDesc(text)
		if err != nil {
			return err
		}
		appender := s.db.Appender(context.Background())
		var reference storage.SeriesRef
		for i, v := range values {
			if v.Omitted {
				continue
			}
			at := begin + int64(i)*minute
			if reference, err = appender.Append(reference, series, at, v.Value); err != nil {
				return fmt.Errorf("%s: %w", series, err)
			}
		}
		if err := appender.Commit(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (s *simulation) evaluate(step *step, first, from, to int64) error {
	// The first evaluation of this day, at a whole number of intervals from the month's first.
	from += (step.interval - (from-first)%step.interval) % step.interval
	if from > to {
		return nil
	}
	if step.reads[written(step.rule)] {
		return s.evaluateSelf(step, first, from, to)
	}
	found, query, err := s.values(step.rule.Query().String(), from-step.offset, to-step.offset, step.interval)
	if err != nil {
		return err
	}
	defer query.Close()
	if alert, isAlert := step.rule.(*rules.AlertingRule); isAlert {
		return s.alert(step, alert, found, from, to)
	}
	return s.record(step, found, from-step.offset, to-step.offset)
}

func (s *simulation) values(expr string, from, to, interval int64) (promql.Matrix, promql.Query, error) {
	query, err := s.engine.NewRangeQuery(
		context.Background(), s.db, nil, expr,
		time.UnixMilli(from), time.UnixMilli(to), time.Duration(interval)*time.Millisecond,
	)
	if err != nil {
		return nil, nil, err
	}
	result := query.Exec(context.Background())
	if result.Err != nil {
		query.Close()
		return nil, nil, result.Err
	}
	found, err := result.Matrix()
	return found, query, err
}

// record stores a day of a recording rule, with a marker wherever a series ends.
func (s *simulation) record(step *step, found promql.Matrix, from, to int64) error {
	appender := s.db.Appender(context.Background())
	gone := math.Float64frombits(value.StaleNaN)
	put := func(one *lastSeen, at int64, v float64) (err error) {
		one.reference, err = appender.Append(one.reference, one.series, at, v)
		return err
	}
	builder := labels.NewBuilder(labels.EmptyLabels())
	// Over time, several series of an expression can become one: those of the sides of an "or".
	points := map[uint64][]promql.FPoint{}
	for _, one := range found {
		builder.Reset(one.Metric)
		builder.Set(labels.MetricName, step.rule.Name())
		step.rule.Labels().Range(func(l labels.Label) { builder.Set(l.Name, l.Value) })
		series := builder.Labels()
		key := series.Hash()
		points[key] = append(points[key], one.Floats...)
		if step.alive[key] == nil {
			step.alive[key] = &lastSeen{series: series, at: math.MinInt64 / 2}
		}
	}
	for key, all := range points {
		before := step.alive[key]
		sort.Slice(all, func(i, j int) bool { return all[i].T < all[j].T })
		for _, point := range all {
			if before.at == point.T {
				return rules.ErrDuplicateRecordingLabelSet
			}
			if before.at >= from-step.interval && point.T > before.at+step.interval {
				if err := put(before, before.at+step.interval, gone); err != nil {
					return err
				}
			}
			if err := put(before, point.T, point.F); err != nil {
				return err
			}
			before.at = point.T
		}
	}
	for _, one := range step.alive {
		if next := one.at + step.interval; next >= from && next <= to {
			if err := put(one, next, gone); err != nil {
				return err
			}
		}
	}
	return appender.Commit()
}

// alert lets Prometheus' own alert live through the day.
func (s *simulation) alert(step *step, alert *rules.AlertingRule, found promql.Matrix, from, to int64) error {
	next := make([]int, len(found))
	idle := len(alert.ActiveAlerts()) == 0
	for at := from; at <= to; at += step.interval {
		var now promql.Vector
		for i, one := range found {
			if next[i] < len(one.Floats) && one.Floats[next[i]].T == at-step.offset {
				now = append(now, promql.Sample{Metric: one.Metric, T: at, F: one.Floats[next[i]].F})
				next[i]++
			}
		}
		if idle && len(now) == 0 {
			continue
		}
		answer := func(_ context.Context, expr string, _ time.Time) (promql.Vector, error) {
			if expr != alert.Query().String() {
				return nil, errors.New("queries in annotations are not simulated")
			}
			return now, nil
		}
		offset := time.Duration(step.offset) * time.Millisecond
		if _, err := alert.Eval(context.Background(), offset, time.UnixMilli(at), answer, &url.URL{}, 0); err != nil {
			return err
		}
		idle = true
		alert.ForEachActiveAlert(func(one *rules.Alert) {
			idle = false
			if one.State != rules.StateFiring {
				return
			}
			key := one.Labels.String()
			open := step.firing[key]
			if open != nil && open.To < (at-step.interval)/1000 {
				s.out.Encode(open)
				open = nil
			}
			if open == nil {
				open = &firing{alert.Name(), one.Labels.Map(), at / 1000, at / 1000, one.Value}
				step.firing[key] = open
			}
			open.To = at / 1000
		})
	}
	return nil
}

// end prints what fired last, or still does.
func (s *simulation) end(steps []*step) error {
	for _, step := range steps {
		for _, open := range step.firing {
			if err := s.out.Encode(open); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes what an expression finds to the standard error, as series are read.
func (s *simulation) write(expr string, from, to int64) error {
	found, query, err := s.values(expr, from, to, minute)
	if err != nil {
		return err
	}
	defer query.Close()
	out := bufio.NewWriter(os.Stderr)
	for _, one := range found {
		fmt.Fprint(out, one.Metric)
		next := from
		for _, point := range one.Floats {
			if point.T > next && next > from {
				fmt.Fprint(out, " stale")
				next += minute
			}
			if point.T > next {
				fmt.Fprintf(out, " _x%d", (point.T-next)/minute)
			}
			fmt.Fprintf(out, " %v", point.F)
			next = point.T + minute
		}
		if next <= to {
			fmt.Fprint(out, " stale")
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}
