{{/* A file with the values in its marks (dashboards/builder/chart/marks.py): (list root path). */}}
{{- define "otel-budget.filled" -}}
{{- $values := (index . 0).Values }}
{{- $text := (index . 0).Files.Get (index . 1) }}
{{- range $table, $entries := $values.thresholds }}
{{- range $entry, $value := $entries }}
{{- $place := printf "%s.%s" $table $entry }}
{{- $text = $text | replace (printf "<<%s>>" $place) (toString $value) }}
{{- if regexMatch "^[0-9.]+$" (toString $value) }}
{{- $text = $text | replace (printf "<<%s / 3600>>" $place) (divf $value 3600 | toString) }}
{{- $text = $text | replace (printf "<<%s %%>>" $place) (mulf $value 100 | printf "%.0f%%") }}
{{- end }}
{{- end }}
{{- end }}
{{- range $program, $job := $values.alerts.jobs }}
{{- $text = $text | replace (printf "<<jobs.%s>>" $program) $job }}
{{- end }}
{{- $left := regexFind "<<[a-z_]+[.][a-z_]+" $text | trimPrefix "<<" }}
{{- if hasPrefix "jobs." $left }}{{ $left = printf "alerts.%s" $left }}{{ else if $left }}{{ $left = printf "thresholds.%s" $left }}{{ end }}
{{- if $left }}{{ fail (printf "%s has no value: give it one, or leave it out for the default." $left) }}{{ end }}
{{- $text
  | replace "<<runbookBase>>" (trimSuffix "/" $values.alerts.runbookBase)
  | replace "<<jaegerUrl>>" (trimSuffix "/" $values.jaegerUrl) }}
{{- end }}
