package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// A past is what a rule that reads itself has recorded: of each series a value an evaluation, NaN
// where there was none.
//
// Such a rule is no range query. What it does not read of itself is evaluated as one; the rest is
// computed here, one evaluation after the other, each series by itself, as far as PromQL allows
// that: set operators, comparisons and arithmetic of series with the same labels.
type past struct {
	name            string
	first, interval int64
	values          map[uint64][]float64
	series          map[uint64]labels.Labels
}

// A moment is one evaluation of one series.
type moment struct {
	past  *past
	parts map[parser.Expr]map[uint64][]float64
	key   uint64
	from  int64
	at    int64
}

// evaluateSelf evaluates a recording rule that reads itself over a day.
func (s *simulation) evaluateSelf(step *step, first, from, to int64) error {
	if step.past == nil {
		step.past = &past{
			step.rule.Name(), first, step.interval, map[uint64][]float64{}, map[uint64]labels.Labels{},
		}
	}
	own := step.past
	parts := map[parser.Expr]map[uint64][]float64{}
	if err := s.parts(step, step.rule.Query(), from, to, parts); err != nil {
		return err
	}
	found := map[uint64][]promql.FPoint{}
	for at := from; at <= to; at += step.interval {
		for key := range own.series {
			now := moment{own, parts, key, from, at}
			v, err := now.vector(step.rule.Query(), at)
			if err != nil {
				return err
			}
			own.values[key] = append(own.values[key], v)
			if !math.IsNaN(v) {
				found[key] = append(found[key], promql.FPoint{T: at, F: v})
			}
		}
	}
	var matrix promql.Matrix
	for key, points := range found {
		matrix = append(matrix, promql.Series{Metric: own.series[key], Floats: points})
	}
	return s.record(step, matrix, from, to)
}

// parts evaluates what does not read the rule itself.
func (s *simulation) parts(
	step *step, expr parser.Expr, from, to int64, parts map[parser.Expr]map[uint64][]float64,
) error {
	if !reads(expr)[step.rule.Name()] {
		if expr.Type() != parser.ValueTypeVector {
			return nil
		}
		found, query, err := s.values(expr.String(), from, to, step.interval)
		if err != nil {
			return err
		}
		defer query.Close()
		part := map[uint64][]float64{}
		parts[expr] = part
		for _, one := range found {
			series := one.Metric.DropReserved(func(name string) bool { return name == labels.MetricName })
			key := series.Hash()
			if part[key] == nil {
				part[key] = slices.Repeat([]float64{math.NaN()}, int((to-from)/step.interval)+1)
			}
			for _, point := range one.Floats {
				part[key][(point.T-from)/step.interval] = point.F
			}
			if _, known := step.past.series[key]; !known {
				step.past.series[key] = series
				missing := int((from - step.past.first) / step.interval)
				step.past.values[key] = slices.Repeat([]float64{math.NaN()}, missing)
			}
		}
		return nil
	}
	switch node := expr.(type) {
	case *parser.Call, *parser.VectorSelector:
		return s.plain(step, expr)
	case *parser.ParenExpr:
		return s.parts(step, node.Expr, from, to, parts)
	case *parser.BinaryExpr:
		if err := s.parts(step, node.LHS, from, to, parts); err != nil {
			return err
		}
		return s.parts(step, node.RHS, from, to, parts)
	}
	return nil
}

// plain refuses what `newest` does not look at.
func (s *simulation) plain(step *step, expr parser.Expr) error {
	var err error
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, isSelector := node.(*parser.VectorSelector)
		if isSelector && (selector.Name != step.rule.Name() || len(selector.LabelMatchers) != 1) {
			err = fmt.Errorf("%s beside the rule itself is not simulated", selector)
		}
		return nil
	})
	return err
}

// vector is the value of an expression for this series; NaN is none.
func (m *moment) vector(expr parser.Expr, at int64) (float64, error) {
	if part, known := m.parts[expr]; known {
		if values := part[m.key]; values != nil {
			return values[(m.at-m.from)/m.past.interval], nil
		}
		return math.NaN(), nil
	}
	switch node := expr.(type) {
	case *parser.ParenExpr:
		return m.vector(node.Expr, at)
	case *parser.VectorSelector:
		if n := m.newest(node, at, 1); n >= 0 {
			return m.past.values[m.key][n], nil
		}
		return math.NaN(), nil
	case *parser.BinaryExpr:
		return m.binary(node, at)
	case *parser.Call:
		return m.call(node, at)
	}
	return 0, fmt.Errorf("%s reads itself in a way that is not simulated: %s", m.past.name, expr)
}

func (m *moment) call(node *parser.Call, at int64) (float64, error) {
	switch argument := node.Args[0].(type) {
	case *parser.VectorSelector:
		if node.Func.Name == "timestamp" {
			if n := m.newest(argument, at, 1); n >= 0 {
				return float64(m.past.first+int64(n)*m.past.interval) / 1000, nil
			}
			return math.NaN(), nil
		}
	case *parser.MatrixSelector:
		if node.Func.Name == "last_over_time" {
			selector := argument.VectorSelector.(*parser.VectorSelector)
			if n := m.newest(selector, at, argument.Range.Milliseconds()); n >= 0 {
				return m.past.values[m.key][n], nil
			}
			return math.NaN(), nil
		}
	case *parser.SubqueryExpr:
		if node.Func.Name == "max_over_time" && argument.Step > 0 {
			most := math.NaN()
			to, length := at-argument.OriginalOffset.Milliseconds(), argument.Step.Milliseconds()
			for then := to - to%length; then > to-argument.Range.Milliseconds(); then -= length {
				v, err := m.vector(argument.Expr, then)
				if err != nil {
					return 0, err
				}
				if math.IsNaN(most) || v > most {
					most = v
				}
			}
			return most, nil
		}
	}
	return 0, fmt.Errorf("%s reads itself in a way that is not simulated: %s", m.past.name, node)
}

// newest is the number of the newest evaluation with a value, in `length` before a time; -1 is
// none. A series that ended has a marker at the next evaluation, so an instant sees one alone.
func (m *moment) newest(selector *parser.VectorSelector, at, length int64) int {
	values := m.past.values[m.key]
	to := at - selector.OriginalOffset.Milliseconds()
	n := min(int((to-m.past.first)/m.past.interval), len(values)-1)
	if to < m.past.first {
		return -1
	}
	oldest := n
	if length > 1 {
		oldest = 0
		if before := to - length - m.past.first; before >= 0 {
			oldest = int(before/m.past.interval) + 1
		}
	}
	for ; n >= oldest && n >= 0; n-- {
		if !math.IsNaN(values[n]) {
			return n
		}
	}
	return -1
}

func (m *moment) binary(node *parser.BinaryExpr, at int64) (float64, error) {
	matching := node.VectorMatching
	isOn := matching != nil && matching.On
	if node.ReturnBool || isOn && node.Op != parser.LAND || !isOn && matching != nil && len(matching.MatchingLabels) > 0 {
		return 0, fmt.Errorf("%s reads itself in a way that is not simulated: %s", m.past.name, node)
	}
	left, err := m.operand(node.LHS, at)
	if err != nil {
		return 0, err
	}
	var right float64
	if isOn {
		right, err = m.any(node.RHS, matching.MatchingLabels)
	} else {
		right, err = m.operand(node.RHS, at)
	}
	if err != nil {
		return 0, err
	}
	none := math.NaN()
	switch node.Op {
	case parser.LOR:
		if math.IsNaN(left) {
			return right, nil
		}
		return left, nil
	case parser.LAND:
		if math.IsNaN(right) {
			return none, nil
		}
		return left, nil
	case parser.LUNLESS:
		if math.IsNaN(right) {
			return left, nil
		}
		return none, nil
	}
	kept := left
	if node.LHS.Type() == parser.ValueTypeScalar {
		kept = right
	}
	var holds bool
	switch node.Op {
	case parser.ADD:
		return left + right, nil
	case parser.SUB:
		return left - right, nil
	case parser.MUL:
		return left * right, nil
	case parser.DIV:
		return left / right, nil
	case parser.MOD:
		return math.Mod(left, right), nil
	case parser.GTR:
		holds = left > right
	case parser.GTE:
		holds = left >= right
	case parser.LSS:
		holds = left < right
	case parser.LTE:
		holds = left <= right
	default:
		return 0, fmt.Errorf("%s reads itself in a way that is not simulated: %s", m.past.name, node)
	}
	if !holds {
		return none, nil
	}
	return kept, nil
}

// any is the value of any series of a part that has the same values of these labels; NaN is none.
func (m *moment) any(expr parser.Expr, names []string) (float64, error) {
	if inner, isParen := expr.(*parser.ParenExpr); isParen {
		return m.any(inner.Expr, names)
	}
	part, known := m.parts[expr]
	if !known {
		return 0, fmt.Errorf("%s reads itself in a way that is not simulated: %s", m.past.name, expr)
	}
	for key, values := range part {
		now := values[(m.at-m.from)/m.past.interval]
		if math.IsNaN(now) {
			continue
		}
		same := func(name string) bool {
			return m.past.series[key].Get(name) == m.past.series[m.key].Get(name)
		}
		if !slices.ContainsFunc(names, func(name string) bool { return !same(name) }) {
			return now, nil
		}
	}
	return math.NaN(), nil
}

func (m *moment) operand(expr parser.Expr, at int64) (float64, error) {
	if expr.Type() != parser.ValueTypeScalar {
		return m.vector(expr, at)
	}
	switch node := expr.(type) {
	case *parser.NumberLiteral:
		return node.Val, nil
	case *parser.ParenExpr:
		return m.operand(node.Expr, at)
	case *parser.BinaryExpr:
		return m.binary(node, at)
	case *parser.Call:
		if node.Func.Name == "time" {
			return float64(m.at) / 1000, nil
		}
	}
	return 0, fmt.Errorf("%s reads itself in a way that is not simulated: %s", m.past.name, expr)
}
