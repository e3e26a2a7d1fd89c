_connleak() {
    local i cur prev opts cmds
    COMPREPLY=()
    cur="${COMP_WORDS[COMP_CWORD]}"
    if [[ $COMP_CWORD -ge 1 ]]; then
        prev="${COMP_WORDS[COMP_CWORD-1]}"
    else
        prev=""
    fi
    cmd=""
    opts=""

    for i in ${COMP_WORDS[@]}; do
        case "${i}" in
            connleak | */connleak)
                cmd="connleak"
                ;;
            discover)
                cmd="connleak_discover"
                ;;
            who)
                cmd="connleak_who"
                ;;
            watch)
                cmd="connleak_watch"
                ;;
            sessions)
                cmd="connleak_sessions"
                ;;
            graph)
                cmd="connleak_graph"
                ;;
            doctor)
                cmd="connleak_doctor"
                ;;
            every)
                cmd="connleak_every"
                ;;
            demo)
                cmd="connleak_demo"
                ;;
            backtest)
                cmd="connleak_backtest"
                ;;
        esac
    done

    case "${cmd}" in
        connleak)
            opts="--help -h --version -V"
            cmds="discover who watch sessions graph doctor every demo backtest"
            case "${prev}" in
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_discover)
            opts="--output -o --all --state-dir --replay --netns --source --proc-root --timeout -t --help -h"
            case "${prev}" in
                --output | -o)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --replay)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_who)
            opts="--by --tree --ghosts --no-ghosts --sockets --state-dir --top --output -o --verbose -v --port -p --unix --profile -P --side --peer --local --user --unit --pid --netns --source --proc-root --replay --timeout -t --help -h --version -V --extra-opts"
            case "${prev}" in
                --by)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --top)
                    COMPREPLY=()
                    return 0
                    ;;
                --output | -o)
                    COMPREPLY=()
                    return 0
                    ;;
                --port | -p)
                    COMPREPLY=()
                    return 0
                    ;;
                --unix)
                    COMPREPLY=()
                    return 0
                    ;;
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --side)
                    COMPREPLY=()
                    return 0
                    ;;
                --peer)
                    COMPREPLY=()
                    return 0
                    ;;
                --local)
                    COMPREPLY=()
                    return 0
                    ;;
                --user)
                    COMPREPLY=()
                    return 0
                    ;;
                --unit)
                    COMPREPLY=()
                    return 0
                    ;;
                --pid)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --replay)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                --extra-opts)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_watch)
            opts="--interval --for --csv --state-dir --sessions --by --port -p --unix --profile -P --side --peer --local --user --unit --pid --netns --source --proc-root --timeout -t --help -h --version -V --extra-opts"
            case "${prev}" in
                --interval)
                    COMPREPLY=()
                    return 0
                    ;;
                --for)
                    COMPREPLY=()
                    return 0
                    ;;
                --csv)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --sessions)
                    COMPREPLY=()
                    return 0
                    ;;
                --by)
                    COMPREPLY=()
                    return 0
                    ;;
                --port | -p)
                    COMPREPLY=()
                    return 0
                    ;;
                --unix)
                    COMPREPLY=()
                    return 0
                    ;;
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --side)
                    COMPREPLY=()
                    return 0
                    ;;
                --peer)
                    COMPREPLY=()
                    return 0
                    ;;
                --local)
                    COMPREPLY=()
                    return 0
                    ;;
                --user)
                    COMPREPLY=()
                    return 0
                    ;;
                --unit)
                    COMPREPLY=()
                    return 0
                    ;;
                --pid)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                --extra-opts)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_sessions)
            opts="--how --top --output -o --verbose -v --port -p --unix --profile -P --side --peer --local --user --unit --pid --netns --source --proc-root --replay --timeout -t --help -h --version -V --extra-opts"
            case "${prev}" in
                --top)
                    COMPREPLY=()
                    return 0
                    ;;
                --output | -o)
                    COMPREPLY=()
                    return 0
                    ;;
                --port | -p)
                    COMPREPLY=()
                    return 0
                    ;;
                --unix)
                    COMPREPLY=()
                    return 0
                    ;;
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --side)
                    COMPREPLY=()
                    return 0
                    ;;
                --peer)
                    COMPREPLY=()
                    return 0
                    ;;
                --local)
                    COMPREPLY=()
                    return 0
                    ;;
                --user)
                    COMPREPLY=()
                    return 0
                    ;;
                --unit)
                    COMPREPLY=()
                    return 0
                    ;;
                --pid)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --replay)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                --extra-opts)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_graph)
            opts="--port -p --unix --profile -P --side --pid --peer --local --user --unit --netns --source --proc-root --rehearse --state-dir --since --limit --title --output-file -O --skip-bad --open --help -h"
            case "${prev}" in
                --port | -p)
                    COMPREPLY=()
                    return 0
                    ;;
                --unix)
                    COMPREPLY=()
                    return 0
                    ;;
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --side)
                    COMPREPLY=()
                    return 0
                    ;;
                --pid)
                    COMPREPLY=()
                    return 0
                    ;;
                --peer)
                    COMPREPLY=()
                    return 0
                    ;;
                --local)
                    COMPREPLY=()
                    return 0
                    ;;
                --user)
                    COMPREPLY=()
                    return 0
                    ;;
                --unit)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --rehearse)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --since)
                    COMPREPLY=()
                    return 0
                    ;;
                --limit)
                    COMPREPLY=()
                    return 0
                    ;;
                --title)
                    COMPREPLY=()
                    return 0
                    ;;
                --output-file | -O)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_doctor)
            opts="--profile -P --output -o --state-dir --netns --source --proc-root --timeout -t --help -h"
            case "${prev}" in
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --output | -o)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_every)
            opts="--help -h"
            case "${prev}" in
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_demo)
            opts="--help -h"
            case "${prev}" in
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
        connleak_backtest)
            opts="--stream --from-history --help -h"
            case "${prev}" in
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
    esac
}

complete -F _connleak -o bashdefault -o default connleak
