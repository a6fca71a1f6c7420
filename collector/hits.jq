# The events of an audit file, each once and in order of time; what a full disk has torn is named on
# standard error:
#
#   jq -cnRf collector/hits.jq threshold-hits.jsonl
[
  inputs
  | split("{\"resourceLogs\"")[] # the Collector goes on writing behind a torn record
  | select(. != "")
  | try ("{\"resourceLogs\"" + . | fromjson)
    catch ("line \(input_line_number): a torn record is skipped\n" | stderr | empty)
  | .resourceLogs[].scopeLogs[].logRecords[]
  | [{timeUnixNano}, (.attributes[] | {(.key): (.value | to_entries[0].value)})]
  | add
]
# A Collector that did not answer in time was sent some events twice.
| unique_by([.timeUnixNano, ."log.record.uid" // .])[]
